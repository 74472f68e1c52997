//! What a rule can look at beside principal, action and resource.

use super::{
    Types,
    kind::{Kind, Shape, decimal},
    uid,
};
use cedar_policy::{Context, Entity, EntityUid, RestrictedExpression};
use portreeve_core::{
    names::Name,
    policy::{Resource, User},
    proof::{BY_ACCOUNT, Proven},
    rules::Question,
    time::Millis,
    value::Value,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

type Failed = Box<dyn std::error::Error>;

/// The context of a question; `input`: the types of the tool's arguments, if they are known
pub(super) fn context(question: &Question<'_>, input: Option<&Shape>, types: &Types) -> Result<Context, Failed> {
    Ok(Context::from_pairs(pairs(question, input, types)?)?)
}

/// What is in the context, by name
pub(super) fn pairs(
    question: &Question<'_>,
    input: Option<&Shape>,
    types: &Types,
) -> Result<Vec<(String, RestrictedExpression)>, Failed> {
    let mut unreadable = BTreeSet::new();
    let mut given = Vec::with_capacity(question.arguments.len());
    for (name, value) in question.arguments {
        let kind = input.and_then(|shape| shape.members.get(name)).map(|member| &member.kind);
        let mut whole = true;
        given.push((name.clone(), expression(value, kind, types, &mut whole)?));
        if !whole {
            unreadable.insert(name);
        }
    }
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let task = [("id", question.task.to_string()), ("purpose", question.purpose.to_string())];
    let task = task.map(|(key, value)| (key.to_owned(), RestrictedExpression::new_string(value)));
    let matches =
        question.matches.iter().map(|(name, holds)| (name.to_string(), RestrictedExpression::new_bool(*holds)));
    let unreadable = unreadable.into_iter().map(|name| text(name));
    let mut pairs = vec![
        ("input".to_owned(), RestrictedExpression::new_record(given)?),
        ("match".to_owned(), RestrictedExpression::new_record(matches)?),
        ("unreadable".to_owned(), RestrictedExpression::new_set(unreadable)),
        ("task".to_owned(), RestrictedExpression::new_record(task)?),
        ("class".to_owned(), text(&question.class.to_string())),
        ("time".to_owned(), time(question.now)?),
        ("chain".to_owned(), chain(question, types)?),
        ("proof".to_owned(), proof(question.proven)?),
    ];
    let user = |name| RestrictedExpression::new_entity_uid(uid(&types.user, name));
    pairs.extend(question.user.map(|name| ("user".to_owned(), user(name.as_str()))));
    pairs.extend(question.environment.map(|environment| ("environment".to_owned(), text(environment))));
    Ok(pairs)
}

/// How the agent has proven itself, and what is needed beside its token
fn proof(proven: Option<&Proven>) -> Result<RestrictedExpression, Failed> {
    let said = [
        ("how", Some(proven.map_or(BY_ACCOUNT, |proven| proven.how.as_str()))),
        ("bound", Some(Proven::bound(proven))),
        ("issuer", proven.and_then(|proven| proven.issuer.as_ref()).map(Name::as_str)),
        ("subject", proven.map(|proven| proven.subject.as_str())),
    ];
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let said = said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), text(value?))));
    Ok(RestrictedExpression::new_record(said)?)
}

/// The user with what is said of them, and the groups
pub(super) fn user(
    name: &Name,
    (user, provided): (&User, &[&Name]),
    attributes: &Shape,
    types: &Types,
) -> Result<Vec<Entity>, Failed> {
    let groups = user.groups.iter().chain(provided.iter().copied());
    let groups: HashSet<EntityUid> = groups.map(|group| uid(&types.group, group.as_str())).collect();
    let mut said = HashMap::new();
    for (name, value) in &user.attributes {
        let kind = attributes.members.get(name).map(|member| &member.kind);
        said.insert(name.clone(), expression(value, kind, types, &mut true)?);
    }
    let mut entities: Vec<Entity> =
        groups.iter().map(|group| Entity::new_no_attrs(group.clone(), HashSet::new())).collect();
    entities.push(Entity::new(uid(&types.user, name.as_str()), said, groups)?);
    Ok(entities)
}

/// What the call is about, in all that it is part of, and in its tool
pub(super) fn target(target: &Resource, tool: &EntityUid) -> Result<(EntityUid, Vec<Entity>), Failed> {
    let mut parents: BTreeMap<EntityUid, HashSet<EntityUid>> = BTreeMap::new();
    let own = place(target, &mut parents)?;
    parents.entry(own.clone()).or_default().insert(tool.clone());
    let entities = parents.into_iter().map(|(uid, parents)| Entity::new_no_attrs(uid, parents)).collect();
    Ok((own, entities))
}

fn place(target: &Resource, parents: &mut BTreeMap<EntityUid, HashSet<EntityUid>>) -> Result<EntityUid, Failed> {
    let own = uid(&target.kind.parse()?, &target.id);
    let within: Result<Vec<EntityUid>, Failed> = target.within.iter().map(|part| place(part, parents)).collect();
    parents.entry(own.clone()).or_default().extend(within?);
    Ok(own)
}

/// A value as Cedar sees it
///
/// SAFETY(security): Cedar knows no null, no integer beyond 64 bits and no fraction beyond four digits. If
/// such a value were left out, `context.input has amount && context.input.amount > 100` would not refuse
/// 1e30. It becomes an entity instead, `Unreadable::"1e+30"`: it is there, it equals nothing that a rule
/// could write, and comparing it fails the rule, which refuses the call.
pub(super) fn expression(
    value: &Value,
    kind: Option<&Kind>,
    types: &Types,
    whole: &mut bool,
) -> Result<RestrictedExpression, Failed> {
    let mut unreadable = |what: &str| {
        *whole = false;
        RestrictedExpression::new_entity_uid(uid(&types.unreadable, what))
    };
    Ok(match (value, kind) {
        (Value::Null, _) => unreadable("null"),
        (_, Some(Kind::Opaque(_))) => unreadable("value"),
        (Value::Bool(truth), _) => RestrictedExpression::new_bool(*truth),
        (Value::String(text), _) => RestrictedExpression::new_string(text.clone()),
        (Value::Number(number), kind) => {
            // Where the schema says `number`, 5 and 5.5 are of one type, so that one comparison holds for both.
            let integer = number.to_i64().filter(|_| kind != Some(&Kind::Decimal));
            let fraction = decimal(number).filter(|_| kind != Some(&Kind::Long));
            match (integer, fraction) {
                (Some(integer), _) => RestrictedExpression::new_long(integer),
                (None, Some(text)) => RestrictedExpression::new_decimal(text),
                (None, None) => unreadable(&number.to_string()),
            }
        }
        (Value::Array(items), kind) => {
            let kind = if let Some(Kind::Set(kind)) = kind { Some(&**kind) } else { None };
            let items: Result<Vec<_>, _> = items.iter().map(|item| expression(item, kind, types, whole)).collect();
            RestrictedExpression::new_set(items?)
        }
        (Value::Object(members), kind) => {
            let shape = if let Some(Kind::Record(shape)) = kind { Some(shape) } else { None };
            let member = |(key, value): (&String, &Value)| {
                let kind = shape.and_then(|shape| shape.members.get(key)).map(|member| &member.kind);
                Ok((key.clone(), expression(value, kind, types, whole)?))
            };
            let members: Result<Vec<_>, Failed> = members.iter().map(member).collect();
            RestrictedExpression::new_record(members?)?
        }
    })
}

fn time(now: Millis) -> Result<RestrictedExpression, Failed> {
    const HOUR_MS: i64 = 3_600_000;
    let hour = now.0.div_euclid(HOUR_MS).rem_euclid(24);
    // 1 January 1970 was a Thursday; Monday is 1.
    let weekday = (now.0.div_euclid(24 * HOUR_MS) + 3).rem_euclid(7) + 1;
    let parts = [("ms", now.0), ("hour", hour), ("weekday", weekday)];
    let parts = parts.map(|(key, value)| (key.to_owned(), RestrictedExpression::new_long(value)));
    Ok(RestrictedExpression::new_record(parts)?)
}

/// Who delegated the task
fn chain(question: &Question<'_>, types: &Types) -> Result<RestrictedExpression, Failed> {
    let above = question.above;
    let agent = |name| RestrictedExpression::new_entity_uid(uid(&types.agent, name));
    let agents = above.iter().map(|link| agent(link.agent.as_str()));
    let purposes = above.iter().map(|link| RestrictedExpression::new_string(link.purpose.to_string()));
    let parts = [
        ("depth", RestrictedExpression::new_long(i64::try_from(above.len()).unwrap_or(i64::MAX))),
        ("agents", RestrictedExpression::new_set(agents)),
        ("purposes", RestrictedExpression::new_set(purposes)),
    ];
    Ok(RestrictedExpression::new_record(parts.map(|(key, value)| (key.to_owned(), value)))?)
}
