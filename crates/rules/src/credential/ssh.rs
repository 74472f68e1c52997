//! `[ssh]`: certificates of users, for hosts that believe an authority of Portreeve's.

use super::{
    Around, TTL_MS_MAX,
    shared::{by_class, narrowed, path, secret},
};
use crate::document::{Cell, Document, Table};
use portreeve_core::{
    names::Name,
    policy::{BackEnd, Class, Ssh, SshExtension, SshList, SshRights},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// How principals look
const PRINCIPALS: &str = "[\"reports-{tenant}\"]";
/// How addresses look
const ADDRESSES: &str = "[\"10.1.0.0/16\"]";
/// Principals, or addresses, of one class
const MANY_MAX: usize = 64;
/// Bytes of a command
const COMMAND_BYTES_MAX: usize = 1_024;

const EXTENSIONS: [(&str, SshExtension); 5] = [
    ("permit-pty", SshExtension::Pty),
    ("permit-port-forwarding", SshExtension::PortForwarding),
    ("permit-agent-forwarding", SshExtension::AgentForwarding),
    ("permit-X11-forwarding", SshExtension::X11Forwarding),
    ("permit-user-rc", SshExtension::UserRc),
];

pub(super) fn read(doc: &Document<'_>, cell: &Cell<'_>, around: &Around<'_>) -> Option<BackEnd> {
    let mut table = doc.table(cell, "[ssh]", "ca = \"shop-ssh-ca\"")?;
    let ca = table.need("ca", "\"shop-ssh-ca\"").and_then(|cell| secret(doc, cell, around));
    let krl = list(doc, &mut table);
    let example = format!("principals = {PRINCIPALS}");
    let classes = by_class(doc, &mut table, ("ssh", &example), |table, class| rights(doc, table, class, around));
    table.finish();
    Some(BackEnd::Ssh(Ssh { ca: ca?, krl: krl?, classes: classes? }))
}

/// `krl` and `within`
fn list(doc: &Document<'_>, table: &mut Table<'_, '_>) -> Option<Option<SshList>> {
    const KRL: &str = "krl = \"/var/lib/portreeve/revoked.krl\"";
    const WITHIN: &str = "within = \"60s\"";
    let (krl_at, within_at) = (table.take("krl"), table.take("within"));
    let path = krl_at.map_or(Some(None), |cell| path(doc, cell, KRL).map(Some));
    let within_ms = within_at.map_or(Some(None), |cell| doc.duration(cell, TTL_MS_MAX, WITHIN).map(Some));
    match (krl_at, within_at) {
        (Some(at), None) => {
            let remedy = format!("how long it takes until every host has the file: {WITHIN}");
            doc.error(&at.span(), "nobody says when hosts know what the list revokes", remedy);
            None
        }
        (None, Some(at)) => {
            doc.error(&at.span(), "there is no list that hosts could have by then", format!("add {KRL}"));
            None
        }
        _ => Some(path?.zip(within_ms?).map(|(path, within_ms)| SshList { path, within_ms })),
    }
}

/// What a certificate of a class is good for
fn rights(doc: &Document<'_>, mut table: Table<'_, '_>, class: Class, around: &Around<'_>) -> Option<SshRights> {
    let at = table.span().clone();
    let principals = table.need("principals", PRINCIPALS).and_then(|cell| {
        several(doc, cell, ("principals", PRINCIPALS), |item, text| {
            if !is_principal(text) {
                let message = "a principal has no commas, spaces or control characters";
                doc.error(&item.span(), message, format!("for example: principals = {PRINCIPALS}"));
                return None;
            }
            narrowed(doc, item, text, around.scope)
        })
    });
    let command_at = table.take("force_command");
    let force_command = command_at.map_or(Some(None), |cell| command(doc, cell, around).map(Some));
    let source_address = table.take("source_address").map_or(Some(Vec::new()), |cell| {
        several(doc, cell, ("source_address", ADDRESSES), |item, text| {
            if !is_network(text) {
                let message = "expected an address, or a network by its first address and the length of its prefix";
                doc.error(&item.span(), message, format!("for example: source_address = {ADDRESSES}"));
                return None;
            }
            Some(text.to_owned())
        })
    });
    let extensions = table.take("extensions").map_or(Some(BTreeSet::new()), |cell| {
        let items = doc.array(cell, "[\"permit-pty\"]")?;
        let all: Option<BTreeSet<SshExtension>> = items.iter().map(|item| doc.word(item, &EXTENSIONS)).collect();
        if class == Class::Read && !items.is_empty() {
            let message = "an extension lets a certificate of the class read do more than run something";
            doc.error(&cell.span(), message, "give it to the class execute or escalate");
            return None;
        }
        all
    });
    table.finish();
    if class == Class::Read && command_at.is_none() {
        let remedy = "add force_command = \"/usr/local/bin/report\", which only reads";
        doc.warn(&at, "a shell can write: nothing bounds what is run with a certificate of the class read", remedy);
    }
    Some(SshRights {
        principals: principals?,
        force_command: force_command?,
        source_address: source_address?,
        extensions: extensions?,
    })
}

/// Texts of a list, each read by `one`
fn several<T>(
    doc: &Document<'_>,
    cell: &Cell<'_>,
    (key, example): (&str, &str),
    one: impl Fn(&Cell<'_>, &str) -> Option<T>,
) -> Option<Vec<T>> {
    let items = doc.array(cell, example)?;
    if items.is_empty() || items.len() > MANY_MAX {
        doc.error(&cell.span(), format!("expected 1 to {MANY_MAX} of them"), format!("for example: {key} = {example}"));
        return None;
    }
    let read = |item: &Cell<'_>| doc.line(item, example).and_then(|text| one(item, &text));
    items.iter().map(read).collect::<Vec<_>>().into_iter().collect()
}

fn command(doc: &Document<'_>, cell: &Cell<'_>, around: &Around<'_>) -> Option<String> {
    const COMMAND: &str = "force_command = \"/usr/local/bin/report\"";
    let text = doc.line(cell, COMMAND)?;
    let named = |scope: &BTreeMap<Name, Name>| scope.keys().any(|name| text.contains(&format!("{{{name}}}")));
    if text.len() > COMMAND_BYTES_MAX || around.scope.is_some_and(named) {
        let message = format!("expected a command of at most {COMMAND_BYTES_MAX} bytes, with nothing to be filled in");
        let remedy =
            "a shell reads it, so that no value may stand in it: what was asked for is in SSH_ORIGINAL_COMMAND";
        doc.error(&cell.span(), message, remedy);
        return None;
    }
    Some(text)
}

/// Whether a text, with names in braces, can be one principal
fn is_principal(text: &str) -> bool {
    !text.contains(|c: char| c == ',' || c.is_whitespace() || c.is_control())
}

/// Whether sshd takes it as a network: it wants what the prefix leaves open to be zero
fn is_network(text: &str) -> bool {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let Some(length) = length else { return true };
    let Some(length) = length.parse::<u32>().ok().filter(|_| length.bytes().all(|byte| byte.is_ascii_digit())) else {
        return false;
    };
    let (all, rest) = match address {
        IpAddr::V4(address) => (32, address.to_bits().checked_shl(length).unwrap_or(0) == 0),
        IpAddr::V6(address) => (128, address.to_bits().checked_shl(length).unwrap_or(0) == 0),
    };
    length <= all && rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_those_that_sshd_takes() {
        for good in ["10.0.0.0/8", "10.1.2.3", "10.1.2.3/32", "::1", "fd00::/8", "0.0.0.0/0", "::/0", "192.168.4.0/22"]
        {
            assert!(is_network(good), "{good}");
        }
        for bad in ["10.1.0.0/8", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "example.com", "!10.0.0.0/8", ""]
        {
            assert!(!is_network(bad), "{bad}");
        }
    }
}
