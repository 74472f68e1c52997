//! What a rule can look at beside principal, action and resource.

use super::{Types, uid};
use cedar_policy::{Context, RestrictedExpression};
use portreeve_core::{decimal::Decimal, rules::Question, time::Millis, value::Value};
use std::collections::BTreeSet;

/// The context of a question
pub(crate) fn context(question: &Question<'_>, types: &Types) -> Result<Context, Box<dyn std::error::Error>> {
    let mut unreadable = BTreeSet::new();
    let mut input = Vec::with_capacity(question.arguments.len());
    for (name, value) in question.arguments {
        let mut whole = true;
        input.push((name.clone(), expression(value, types, &mut whole)?));
        if !whole {
            unreadable.insert(name);
        }
    }
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let task = [("id", question.task.to_string()), ("purpose", question.purpose.to_string())];
    let task = task.map(|(key, value)| (key.to_owned(), RestrictedExpression::new_string(value)));
    let unreadable = unreadable.into_iter().map(|name| text(name));
    let mut pairs = vec![
        ("input".to_owned(), RestrictedExpression::new_record(input)?),
        ("unreadable".to_owned(), RestrictedExpression::new_set(unreadable)),
        ("task".to_owned(), RestrictedExpression::new_record(task)?),
        ("class".to_owned(), text(&question.class.to_string())),
        ("time".to_owned(), time(question.now)?),
    ];
    pairs.extend(question.user.map(|user| ("user".to_owned(), text(user.as_str()))));
    Ok(Context::from_pairs(pairs)?)
}

/// A value as Cedar sees it
///
/// SAFETY(security): Cedar knows no null, no integer beyond 64 bits and no fraction beyond four digits. If
/// such a value were left out, `context.input has amount && context.input.amount > 100` would not refuse
/// 1e30. It becomes an entity instead, `Unreadable::"1e+30"`: it is there, it equals nothing that a rule
/// could write, and comparing it fails the rule, which refuses the call.
fn expression(
    value: &Value,
    types: &Types,
    whole: &mut bool,
) -> Result<RestrictedExpression, Box<dyn std::error::Error>> {
    Ok(match value {
        Value::Bool(truth) => RestrictedExpression::new_bool(*truth),
        Value::String(text) => RestrictedExpression::new_string(text.clone()),
        Value::Number(number) => match (number.to_i64(), decimal(number)) {
            (Some(integer), _) => RestrictedExpression::new_long(integer),
            (None, Some(text)) => RestrictedExpression::new_decimal(text),
            (None, None) => {
                *whole = false;
                RestrictedExpression::new_entity_uid(uid(&types.unreadable, &number.to_string()))
            }
        },
        Value::Null => {
            *whole = false;
            RestrictedExpression::new_entity_uid(uid(&types.unreadable, "null"))
        }
        Value::Array(items) => {
            let items: Result<Vec<_>, _> = items.iter().map(|item| expression(item, types, whole)).collect();
            RestrictedExpression::new_set(items?)
        }
        Value::Object(members) => {
            let member = |(key, value): (&String, &Value)| Ok((key.clone(), expression(value, types, whole)?));
            let members: Result<Vec<_>, Box<dyn std::error::Error>> = members.iter().map(member).collect();
            RestrictedExpression::new_record(members?)?
        }
    })
}

/// The text of a number that Cedar's decimals hold: a 64-bit count of ten-thousandths
fn decimal(number: &Decimal) -> Option<String> {
    let text = number.to_string();
    let (whole, fraction) = text.split_once('.')?;
    let fits = (1..=4).contains(&fraction.len()) && format!("{whole}{fraction:0<4}").parse::<i64>().is_ok();
    fits.then_some(text)
}

fn time(now: Millis) -> Result<RestrictedExpression, Box<dyn std::error::Error>> {
    const HOUR_MS: i64 = 3_600_000;
    let hour = now.0.div_euclid(HOUR_MS).rem_euclid(24);
    // 1 January 1970 was a Thursday; Monday is 1.
    let weekday = (now.0.div_euclid(24 * HOUR_MS) + 3).rem_euclid(7) + 1;
    let parts = [("ms", now.0), ("hour", hour), ("weekday", weekday)];
    let parts = parts.map(|(key, value)| (key.to_owned(), RestrictedExpression::new_long(value)));
    Ok(RestrictedExpression::new_record(parts)?)
}
