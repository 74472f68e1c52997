//! `[redis]`: users at a Redis or Valkey server.

use super::{
    Around,
    shared::{by_class, host, secret, tls},
};
use crate::document::{Cell, Document, Table};
use portreeve_core::{
    names::Name,
    policy::{BackEnd, Class, Redis, Template},
};
use std::collections::BTreeMap;

/// How rules look
const RULES: &str = "[\"~{tenant}:*\", \"+@read\"]";
/// Rules of one class
const RULES_MAX: usize = 64;

pub(super) fn read(doc: &Document<'_>, cell: &Cell<'_>, around: &Around<'_>) -> Option<BackEnd> {
    let mut table = doc.table(cell, "[redis]", "host = \"cache.example.com\"")?;
    let (host, port) = host(doc, &mut table, 6_379);
    let tls = tls(doc, &mut table, host.as_deref());
    let admin = table.need("admin", "\"cache-admin\"").and_then(|cell| secret(doc, cell, around));
    let example = format!("rules = {RULES}");
    let rules = by_class(doc, &mut table, ("redis", &example), |table, class| given(doc, table, class, around.scope));
    table.finish();
    let (host, port, tls, admin) = (host?, port?, tls?, admin?);
    Some(BackEnd::Redis(Redis { host, port, tls, admin, rules: rules? }))
}

/// What a user of a class is given
fn given(
    doc: &Document<'_>,
    mut table: Table<'_, '_>,
    class: Class,
    scope: Option<&BTreeMap<Name, Name>>,
) -> Option<Vec<String>> {
    let cell = table.need("rules", RULES);
    table.finish();
    let cell = cell?;
    let items = doc.array(cell, RULES)?;
    if items.is_empty() || items.len() > RULES_MAX {
        doc.error(&cell.span(), format!("expected 1 to {RULES_MAX} rules"), format!("for example: rules = {RULES}"));
        return None;
    }
    let one = |item: &Cell<'_>| {
        let text = doc.line(item, RULES)?;
        match bounded(&text, class, scope) {
            Ok(()) => Some(text),
            Err((message, remedy)) => {
                doc.error(&item.span(), message, remedy);
                None
            }
        }
    };
    let rules: Vec<Option<String>> = items.iter().map(one).collect();
    rules.into_iter().collect()
}

type Wrong = (String, String);

/// Whether a rule gives no more than a class may have, as far as its own words say that; what is wrong with it, otherwise
fn bounded(rule: &str, class: Class, scope: Option<&BTreeMap<Name, Name>>) -> Result<(), Wrong> {
    let template = Template::read(rule)
        .map_err(|error| (error.to_string(), "a name of `[scope]` in braces stands for its value".to_owned()))?;
    let unknown = template
        .fields()
        .find(|field| scope.is_some_and(|scope| !field.parse::<Name>().is_ok_and(|field| scope.contains_key(&field))));
    if let Some(field) = unknown {
        let remedy = format!("add it to `[scope]`: {field} = \"PARAMETER\"");
        return Err((format!("nothing says what `{{{field}}}` is"), remedy));
    }
    if rule.contains(|c: char| c.is_whitespace()) {
        return Err(("a rule has no spaces".to_owned(), format!("one rule in each text: rules = {RULES}")));
    }
    let writes = |what: &str| {
        let message = format!("`{what}` lets a user of the class read change something");
        (message, "give it to the class write".to_owned())
    };
    // Keys, then channels, then commands: nothing else is a rule here, so that none can let somebody in another way.
    let keys = ["~", "%R~", "%RW~", "%W~"].into_iter().find_map(|kind| Some((kind, rule.strip_prefix(kind)?)));
    if let Some((kind, _)) = keys.filter(|(_, keys)| !keys.is_empty()) {
        return if class == Class::Read && kind.contains('W') { Err(writes(kind)) } else { Ok(()) };
    }
    if rule.strip_prefix('&').is_some_and(|channels| !channels.is_empty()) {
        return Ok(());
    }
    let command = rule.strip_prefix(['+', '-']).filter(|command| {
        let (name, under) = command.split_once('|').unwrap_or((command, "x"));
        let word = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        word(name.strip_prefix('@').filter(|_| !command.contains('|')).unwrap_or(name)) && word(under)
    });
    let Some(command) = command else {
        let message = format!("`{}` is no rule for keys, channels or commands", rule.escape_debug());
        let remedy = "~KEYS, %R~KEYS, &CHANNELS, +COMMAND, +COMMAND|SUBCOMMAND, +@CATEGORY, or - instead of +";
        return Err((message, remedy.to_owned()));
    };
    if rule.starts_with('-') {
        return Ok(());
    }
    let command = command.to_ascii_lowercase();
    let (name, _) = command.split_once('|').unwrap_or((&command, ""));
    // Of some, one subcommand is harmless and another is not: those are named with it.
    let whole = !NAMED.contains(&name);
    let is = |all: &str| all.split_ascii_whitespace().any(|one| one == command || (whole && one == name));
    if is(EVERYTHING) {
        return Err((format!("`+{command}` gives more than a class"), "name what the class needs".to_owned()));
    }
    if class == Class::Read && is(WRITES) {
        return Err(writes(&format!("+{command}")));
    }
    if class != Class::Escalate && is(EMPTIES) {
        let message = format!("`+{command}` reaches keys of everybody");
        return Err((message, "give it to the class escalate, or name other commands".to_owned()));
    }
    Ok(())
}

/// Commands whose subcommands are judged one by one
const NAMED: [&str; 2] = ["client", "function"];
/// What reaches the server itself, other users, or everything: the commands of `@admin`, and categories that have them
const EVERYTHING: &str = "@all @admin @dangerous acl acl|list acl|setuser acl|getuser acl|deluser acl|save acl|dryrun acl|log \
    acl|load acl|users bgrewriteaof bgsave client client|kill client|list client|no-evict client|pause client|unblock \
    client|unpause cluster config config|get config|set config|rewrite config|resetstat debug failover latency lastsave \
    migrate module monitor pfdebug pfselftest psync replconf replicaof role save shutdown slaveof slowlog sync";
/// What changes something: the commands of `@write`, those that tell others, and categories that mostly do
const WRITES: &str = "@write append bitfield bitop blmove blmpop blpop brpop brpoplpush bzmpop bzpopmax bzpopmin copy decr \
    decrby del expire expireat flushall flushdb function function|delete function|flush function|load function|restore geoadd georadius \
    georadiusbymember geosearchstore getdel getex getset hdel hincrby hincrbyfloat hmset hset hsetnx incr incrby incrbyfloat \
    linsert lmove lmpop lpop lpush lpushx lrem lset ltrim move mset msetnx persist pexpire pexpireat pfadd pfmerge psetex \
    publish rename renamenx restore restore-asking rpop rpoplpush rpush rpushx sadd sdiffstore set setbit setex setnx \
    setrange sinterstore smove sort spop spublish srem sunionstore swapdb unlink xack xadd xautoclaim xclaim xdel xgroup \
    xreadgroup xsetid xtrim zadd zdiffstore zincrby zinterstore zmpop zpopmax zpopmin zrangestore zrem zremrangebylex \
    zremrangebyrank zremrangebyscore zunionstore";
/// What no pattern of keys narrows
const EMPTIES: &str =
    "flushall flushdb swapdb function function|flush function|delete function|load function|restore function";
