//! Rego in this process.
//!
//! Deterministic: only builtins of a closed list are taken, and none of them reaches a clock, the network or
//! randomness; what bounds an evaluation is counted, not timed, so that the same question gets the same answer
//! on every machine and in every replay. Two things are counted: instructions, and the size of every value that
//! turns up. The second is needed because values share their parts: forty lines that each put the value before
//! twice into a list make one that is never larger than forty cells, and that takes a century to compare.

mod meter;

use super::Decides;
use crate::{
    files::File,
    finding::{Finding, Place},
    words::suggest,
};
use meter::{Known, Meter};
use portreeve_core::{
    decimal::Decimal,
    hash::Hash,
    json::{self, Limits},
    outside::{self, Said, Sends},
    rules::Question,
    value::Value,
};
use regorus::{
    Engine, Rc, Value as Term,
    languages::rego::compiler::Compiler,
    rvm::{
        program::Program,
        vm::{ExecutionMode, ExecutionState, RegoVM, SuspendReason},
    },
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

pub(super) struct Rego {
    program: Arc<Program>,
    data: Term,
    /// The places of what stands in `data` and of the program's literals
    known: Known,
    query: String,
}

impl Rego {
    pub(super) fn read(
        point: &File<'_>,
        files: &[&File<'_>],
        query: &str,
        findings: &mut Vec<Finding>,
    ) -> Option<Self> {
        let before = findings.len();
        let mut engine = Engine::new();
        let mut modules = 0;
        let mut data = Vec::new();
        for file in files {
            if file.path.ends_with(".rego") {
                modules += 1;
                let added = guarded(|| engine.add_policy(file.path.to_owned(), file.text.to_owned()));
                if let Err(error) = added {
                    findings.push(syntax(files, file, &error));
                }
            } else if file.path.ends_with(".json") {
                data.extend(read_data(file, findings).map(|value| (*file, value)));
            } else {
                let remedy = "a point of Rego has *.rego, and perhaps *.json with data";
                findings.push(Finding::error(Place::file(file.path), "nothing would read this file", remedy));
            }
        }
        if modules == 0 {
            let remedy = format!("add `extra/{}/policy.rego`", point.name);
            findings.push(Finding::error(Place::file(point.path), "no policy is there", remedy));
        }
        for (file, value) in data {
            if let Err(error) = guarded(|| engine.add_data(value)) {
                findings.push(Finding::error(Place::file(file.path), error, "each name of `data` stands in one file"));
            }
        }
        if findings.iter().skip(before).any(Finding::is_error) {
            return None;
        }
        let entry: Rc<str> = query.into();
        let compiled = guarded(|| {
            let policy = engine.compile_with_entrypoint(&entry).map_err(|error| error.to_string())?;
            let program = Compiler::compile_from_policy_with_host_await(&policy, &[query], &OURS);
            program.map_err(|error| error.to_string())
        });
        let program = match compiled {
            Ok(program) => program,
            Err(error) => {
                let remedy = format!("`query` is the path of a rule in `extra/{}/`", point.name);
                findings.push(match syntax(files, point, &error) {
                    finding if finding.place.line.is_some() => finding,
                    finding => Finding { remedy: Some(remedy), ..finding },
                });
                return None;
            }
        };
        for builtin in &program.builtin_info_table {
            let name = builtin.name.as_str();
            if !BUILTINS.contains(&name) {
                let place = files.iter().find_map(|file| place_of(file, name));
                let place = place.unwrap_or_else(|| Place::file(point.path));
                let message = format!("the builtin `{name}` is not to be had here");
                let near = suggest(name, BUILTINS.iter().copied());
                let remedy =
                    "only builtins that always give the same answer, and no large one, are; ask an OPA otherwise";
                findings.push(Finding::error(
                    place,
                    message,
                    format!("{remedy}\n  = {near}").trim_end_matches("\n  = "),
                ));
            }
        }
        let broken = findings.iter().skip(before).any(Finding::is_error);
        let data = engine.get_data();
        let mut known = Known::default();
        known.add(&data);
        program.literals.iter().for_each(|literal| known.add(literal));
        (!broken).then(|| Self { program, data, known, query: query.to_owned() })
    }

    fn evaluate(&self, input: &str) -> Result<Option<Value>, String> {
        let mut vm = RegoVM::new();
        vm.load_program(Arc::clone(&self.program));
        vm.set_data(self.data.clone()).map_err(|error| error.to_string())?;
        let input = Term::from_json_str(input).map_err(|error| error.to_string())?;
        let mut asked = Known::default();
        asked.add(&input);
        vm.set_input(input.clone());
        vm.set_max_instructions(INSTRUCTIONS_MAX);
        vm.set_execution_mode(ExecutionMode::Suspendable);
        vm.set_step_mode(true);
        let mut meter = Meter::new([&self.known, &asked]);
        let mut result = vm.execute_entry_point_by_name(&self.query).map_err(|error| error.to_string())?;
        loop {
            let (pc, answer) = match vm.execution_state() {
                ExecutionState::Suspended { reason: SuspendReason::Step, pc, .. } => (*pc, None),
                ExecutionState::Suspended { reason: SuspendReason::HostAwait { argument, .. }, pc, .. } => {
                    (*pc, Some(meter::sprintf(argument)?))
                }
                ExecutionState::Suspended { reason, .. } => return Err(format!("the evaluation stopped: {reason:?}")),
                _ => break,
            };
            meter.step(&vm, &self.program, pc)?;
            result = vm.resume(answer).map_err(|error| error.to_string())?;
        }
        meter.measure(&result)?;
        if result == Term::Undefined {
            return Ok(None);
        }
        let text = result.to_json_str().map_err(|error| error.to_string())?;
        read(text.as_bytes()).map(Some)
    }
}

impl Decides for Rego {
    fn decide(&self, question: &Question<'_>, bundle: Hash) -> Said {
        let document = outside::document(question, bundle, Sends::Arguments);
        if let Some((name, _)) = question.arguments.iter().find(|(_, value)| !is_exact(value)) {
            let name = Value::String(name.clone()).canonical();
            let why = format!("the argument {name} holds a number that Rego would round");
            return Said::Failed(outside::one_line(&why));
        }
        let input = Value::Object(outside::timed(&document, question.now)).canonical();
        if input.len() > INPUT_BYTES_MAX {
            return Said::Failed(format!("the question is longer than {INPUT_BYTES_MAX} bytes"));
        }
        match guarded(|| self.evaluate(&input)) {
            Ok(result) => outside::read_result(result.as_ref()),
            Err(why) => Said::Failed(outside::one_line(&why)),
        }
    }
}

/// Runs foreign code that may panic; what it says is then an error like another
fn guarded<T, E: std::fmt::Display>(work: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    // What the work may have left half done is dropped with it, or not looked at any more.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("the Rego engine failed".to_owned()),
    }
}

fn read(text: &[u8]) -> Result<Value, String> {
    json::scan_distinct(text, &DATA).and_then(|json| json.to_value()).map_err(|error| error.to_string())
}

fn read_data(file: &File<'_>, findings: &mut Vec<Finding>) -> Option<Term> {
    let mut error = |message: String| {
        findings.push(Finding::error(Place::file(file.path), message, ""));
        None
    };
    match read(file.text.as_bytes()) {
        Ok(value @ Value::Object(_)) if is_exact(&value) => match Term::from_json_str(&value.canonical()) {
            Ok(value) => Some(value),
            Err(why) => error(why.to_string()),
        },
        Ok(Value::Object(_)) => error("a number in it is one that Rego would round".to_owned()),
        Ok(_) => error("expected an object: what is to stand in `data`".to_owned()),
        Err(why) => error(why),
    }
}

/// Whether Rego's numbers, as they are read here, hold every number of a value as it is: 64-bit integers and doubles
///
/// SAFETY(security): otherwise `amount <= 100` would permit 100.00000000000000000001.
fn is_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) => {
            let whole = number.to_i64().is_some() || number.to_u64().is_some();
            whole || Decimal::parse(&number.to_f64().to_string()).as_ref() == Some(number)
        }
        Value::Array(items) => items.iter().all(is_exact),
        Value::Object(members) => members.values().all(is_exact),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

/// An error of the Rego engine, at the place that it names: `--> FILE:LINE:COLUMN`, the text, `error: MESSAGE`
fn syntax(files: &[&File<'_>], fallback: &File<'_>, error: &str) -> Finding {
    let message = error.lines().rev().find_map(|line| line.trim().strip_prefix("error: "));
    let message = message.or_else(|| error.lines().find(|line| !line.trim().is_empty())).unwrap_or("not Rego");
    let place = error.lines().find_map(|line| {
        let (rest, column) = line.split_once("--> ")?.1.rsplit_once(':')?;
        let (path, line) = rest.rsplit_once(':')?;
        let file = files.iter().find(|file| file.path == path)?;
        let (line, column) = (line.parse::<usize>().ok()?, column.trim().parse::<usize>().ok()?);
        let start: usize = file.text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        let at = start + column.saturating_sub(1);
        Some(Place::span(file.path, file.text, &(at..at + 1)))
    });
    let place = place.unwrap_or_else(|| Place::file(fallback.path));
    Finding::error(place, outside::one_line(message), "")
}

/// Where a word stands in a file
fn place_of(file: &File<'_>, word: &str) -> Option<Place> {
    let at = file.path.ends_with(".rego").then(|| file.text.find(word))??;
    Some(Place::span(file.path, file.text, &(at..at + word.len())))
}

/// Builtins that the host answers: their own could make much of little
const OURS: [(&str, usize); 1] = [("sprintf", 2)];
/// Builtins that always give the same answer, and none that is much larger than what they are given
const BUILTINS: [&str; 70] = [
    "__builtin_sets.intersection",
    "__builtin_sets.union",
    "abs",
    "array.concat",
    "array.reverse",
    "array.slice",
    "bits.and",
    "bits.negate",
    "bits.or",
    "bits.rsh",
    "bits.xor",
    "ceil",
    "concat",
    "contains",
    "count",
    "endswith",
    "floor",
    "format_int",
    "glob.match",
    "glob.quote_meta",
    "indexof",
    "indexof_n",
    "intersection",
    "is_array",
    "is_boolean",
    "is_null",
    "is_number",
    "is_object",
    "is_set",
    "is_string",
    "json.filter",
    "json.is_valid",
    "json.marshal",
    "json.remove",
    "json.unmarshal",
    "lower",
    "max",
    "min",
    "object.filter",
    "object.get",
    "object.keys",
    "object.remove",
    "object.subset",
    "object.union",
    "object.union_n",
    "regex.is_valid",
    "regex.match",
    "round",
    "sort",
    "split",
    "startswith",
    "strings.any_prefix_match",
    "strings.any_suffix_match",
    "strings.count",
    "strings.reverse",
    "substring",
    "sum",
    "to_number",
    "trim",
    "trim_left",
    "trim_prefix",
    "trim_right",
    "trim_space",
    "trim_suffix",
    "type_name",
    "union",
    "units.parse",
    "units.parse_bytes",
    "upper",
    "walk",
];
/// Instructions of one evaluation
const INSTRUCTIONS_MAX: usize = 50_000;
/// Bytes of a question
const INPUT_BYTES_MAX: usize = 256 * 1024;
const DATA: Limits = Limits { bytes_max: 1 << 20, depth_max: 64, nodes_max: 200_000 };
