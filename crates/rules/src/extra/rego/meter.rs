//! What an evaluation may cost: counted, never timed.
//!
//! The machine counts instructions by itself. Here the sizes of values are counted, as they are when everything
//! that is shared is written out: whatever newly turns up in a register, and whatever an instruction has to walk
//! through. What stands in the question and in the bundle's data is there from the start, and is counted only where
//! it is walked through.

use regorus::{
    Value,
    rvm::{Instruction, Program, vm::RegoVM},
};
use std::collections::HashSet;

/// The places of values that live as long as the evaluation, and are never changed
#[derive(Clone, Debug, Default)]
pub(super) struct Known(HashSet<usize>);

impl Known {
    /// Remembers a value and everything in it; it has to outlive the meter
    pub(super) fn add(&mut self, value: &Value) {
        if let Some((place, _)) = identity(value) {
            self.0.insert(place);
        }
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.add(item)),
            Value::Set(items) => items.iter().for_each(|item| self.add(item)),
            Value::Object(members) => members.iter().for_each(|(key, value)| {
                self.add(key);
                self.add(value);
            }),
            _ => {}
        }
    }
}

/// What is left of an evaluation
pub(super) struct Meter<'a> {
    known: [&'a Known; 2],
    fuel: usize,
    /// What stood in the registers after the last instruction
    seen: Vec<Option<(usize, usize)>>,
}

impl<'a> Meter<'a> {
    pub(super) fn new(known: [&'a Known; 2]) -> Self {
        Self { known, fuel: FUEL, seen: Vec::new() }
    }

    /// Counts the instruction at `pc`, which has just been executed
    pub(super) fn step(&mut self, vm: &RegoVM, program: &Program, pc: usize) -> Result<(), String> {
        let registers = vm.get_registers();
        self.seen.resize(registers.len().max(self.seen.len()), None);
        for (index, value) in registers.iter().enumerate() {
            let now = identity(value);
            let Some(seen) = self.seen.get_mut(index) else { continue };
            let before = std::mem::replace(seen, now);
            let Some((place, _)) = now.filter(|_| now != before) else { continue };
            if !self.known.iter().any(|known| known.0.contains(&place)) {
                self.measure(value)?;
            }
        }
        for register in walked(program, pc).into_iter().flatten() {
            if let Some(value) = registers.get(usize::from(register)) {
                self.measure(value)?;
            }
        }
        Ok(())
    }

    /// Counts a value
    pub(super) fn measure(&mut self, value: &Value) -> Result<(), String> {
        let mut left = VALUE_MAX.min(self.fuel);
        let before = left;
        let fits = walk(value, &mut left);
        self.fuel = self.fuel.saturating_sub(before - left);
        if fits { Ok(()) } else { Err("the evaluation makes or walks through too much".to_owned()) }
    }
}

/// Takes the size of a value from what is left; false if that is not enough
fn walk(value: &Value, left: &mut usize) -> bool {
    let own = match value {
        Value::String(text) => 1 + text.len() / BYTES_PER_UNIT,
        // Multiplying a long number by itself a few times makes one that fills the memory.
        Value::Number(number) if number.as_i64().is_none() && number.as_f64().is_none() => {
            if number.as_big().is_some_and(|number| number.bits() > NUMBER_BITS_MAX) { VALUE_MAX + 1 } else { 1 }
        }
        _ => 1,
    };
    let Some(rest) = left.checked_sub(own) else {
        *left = 0;
        return false;
    };
    *left = rest;
    match value {
        Value::Array(items) => items.iter().all(|item| walk(item, left)),
        Value::Set(items) => items.iter().all(|item| walk(item, left)),
        Value::Object(members) => members.iter().all(|(key, value)| walk(key, left) && walk(value, left)),
        _ => true,
    }
}

/// Where a value lies, and how long it is; `None` for those that fit into a register
fn identity(value: &Value) -> Option<(usize, usize)> {
    Some(match value {
        Value::String(text) => (text.as_ptr() as usize, text.len()),
        Value::Array(items) => (std::ptr::from_ref(items.as_ref()) as usize, items.len()),
        Value::Set(items) => (std::ptr::from_ref(items.as_ref()) as usize, items.len()),
        Value::Object(members) => (std::ptr::from_ref(members.as_ref()) as usize, members.len()),
        _ => return None,
    })
}

/// The registers whose values an instruction walks through
fn walked(program: &Program, pc: usize) -> [Option<u8>; 8] {
    use Instruction as I;
    let mut registers = [None; 8];
    let mut set = |given: &[u8]| {
        registers.iter_mut().zip(given).for_each(|(register, given)| *register = Some(*given));
    };
    match program.instructions.get(pc) {
        Some(
            I::Eq { left, right, .. }
            | I::Ne { left, right, .. }
            | I::Lt { left, right, .. }
            | I::Le { left, right, .. }
            | I::Gt { left, right, .. }
            | I::Ge { left, right, .. }
            | I::And { left, right, .. }
            | I::Or { left, right, .. }
            | I::Sub { left, right, .. }
            | I::Mul { left, right, .. }
            | I::Div { left, right, .. }
            | I::Mod { left, right, .. }
            | I::AssertEq { left, right },
        ) => set(&[*left, *right]),
        // In an array it is looked for by walking; in a set or object only what is looked for is compared.
        Some(I::Contains { collection, value, .. }) => set(&[*collection, *value]),
        Some(I::Index { key, .. } | I::ObjectSet { key, .. }) => set(&[*key]),
        Some(I::SetAdd { value, .. } | I::ComprehensionYield { value_reg: value, key_reg: None }) => set(&[*value]),
        Some(I::ComprehensionYield { value_reg, key_reg: Some(key) }) => set(&[*value_reg, *key]),
        Some(I::BuiltinCall { params_index }) => {
            if let Some(call) = program.instruction_data.get_builtin_call_params(*params_index) {
                set(call.args.get(..usize::from(call.num_args)).unwrap_or(&call.args));
            }
        }
        _ => {}
    }
    registers
}

/// `sprintf` with the verbs that cannot make much of little: `%v`, `%s`, `%d` and `%%`, without widths
pub(super) fn sprintf(argument: &Value) -> Result<Value, String> {
    let mut given = match argument {
        Value::Array(given) => given.iter(),
        _ => return Err("sprintf is called in a way that is not understood".to_owned()),
    };
    let (Some(Value::String(format)), Some(Value::Array(values)), None) = (given.next(), given.next(), given.next())
    else {
        return Ok(Value::Undefined);
    };
    let mut values = values.iter();
    let mut text = String::new();
    let mut rest: &str = format;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        let mut verbs = after.chars();
        match verbs.next() {
            Some('%') => text.push('%'),
            Some('v' | 's' | 'd') => {
                let Some(value) = values.next() else { return Err("sprintf has too few values".to_owned()) };
                let mut left = VALUE_MAX;
                if !walk(value, &mut left) {
                    return Err("sprintf would write too much".to_owned());
                }
                match value {
                    Value::String(value) => text.push_str(value),
                    value => text.push_str(&value.to_json_str().map_err(|error| error.to_string())?),
                }
            }
            _ => return Err("sprintf here knows %v, %s, %d and %% without widths".to_owned()),
        }
        rest = verbs.as_str();
    }
    text.push_str(rest);
    Ok(Value::from(text))
}

/// What one value may measure: cells, and 64 bytes of text each
const VALUE_MAX: usize = 1 << 17;
const BYTES_PER_UNIT: usize = 64;
/// Bits of a whole number
const NUMBER_BITS_MAX: u64 = 4_096;
/// What all that one evaluation makes and walks through may measure
const FUEL: usize = 1 << 22;
