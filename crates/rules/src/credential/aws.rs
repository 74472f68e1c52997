//! `[aws]`: sessions of roles.

use super::{
    Around,
    shared::{address, by_class, narrowed, secret},
};
use crate::document::{Cell, Document, Table};
use portreeve_core::policy::{Aws, AwsAllow, AwsRole, BackEnd, Class, Template};

const REGION: &str = "region = \"eu-central-1\"";
const ROLE: &str = "role = \"arn:aws:iam::123456789012:role/orders-reader\"";
const ALLOW: &str = "allow = [{ actions = [\"s3:GetObject\"], resources = [\"arn:aws:s3:::orders/{tenant}/*\"] }]";
/// Statements of one class, and parts of each
const ALLOW_MAX: usize = 16;
const PARTS_MAX: usize = 32;
/// How actions begin that only look
const LOOKS: [&str; 12] =
    ["Get", "List", "Describe", "BatchGet", "Query", "Scan", "Search", "Select", "Lookup", "View", "Head", "Filter"];
/// What would outlive a session, or make more of it
const MORE: [&str; 3] = ["iam", "organizations", "sso"];

pub(super) fn read(doc: &Document<'_>, cell: &Cell<'_>, around: &Around<'_>) -> Option<BackEnd> {
    let mut table = doc.table(cell, "[aws]", REGION)?;
    let region = table.need("region", "\"eu-central-1\"").and_then(|cell| {
        let text = doc.line(cell, REGION)?;
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !text.chars().all(good) {
            doc.error(&cell.span(), "this is no region", format!("for example: {REGION}"));
            return None;
        }
        Some(text)
    });
    let endpoint = table.take("endpoint");
    let endpoint =
        endpoint.map_or(Some(None), |cell| address(doc, cell, "endpoint = \"http://127.0.0.1:4566\"").map(Some));
    let keys = table.need("keys", "\"aws-portreeve\"").and_then(|cell| secret(doc, cell, around));
    let example = format!("{ROLE}, {ALLOW}");
    let roles = by_class(doc, &mut table, ("aws", &example), |table, class| role(doc, table, class, around));
    table.finish();
    Some(BackEnd::Aws(Aws { region: region?, endpoint: endpoint?, keys: keys?, roles: roles? }))
}

fn role(doc: &Document<'_>, mut table: Table<'_, '_>, class: Class, around: &Around<'_>) -> Option<AwsRole> {
    let arn = table.need("role", "\"arn:aws:iam::123456789012:role/orders-reader\"").and_then(|cell| {
        let text = doc.line(cell, ROLE)?;
        let parts: Vec<&str> = text.split(':').collect();
        let good = matches!(parts.as_slice(), ["arn", partition, "iam", "", account, role]
            if partition.starts_with("aws") && account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit())
                && role.strip_prefix("role/").is_some_and(|name| !name.is_empty() && !name.ends_with('/')));
        if !good {
            doc.error(&cell.span(), "this is no ARN of a role", format!("for example: {ROLE}"));
        }
        good.then_some(text)
    });
    let external = table.take("external_id");
    let external_id = external.map_or(Some(None), |cell| doc.line(cell, "external_id = \"portreeve\"").map(Some));
    let allow = table.need("allow", "[{ actions = [\"s3:GetObject\"], resources = [\"arn:aws:s3:::orders/*\"] }]");
    let allow = allow.and_then(|cell| {
        let items = doc.array(cell, ALLOW)?;
        if items.is_empty() || items.len() > ALLOW_MAX {
            // None would be all that the role may do.
            let message = format!("expected 1 to {ALLOW_MAX} statements");
            doc.error(&cell.span(), message, format!("for example: {ALLOW}"));
            return None;
        }
        let all: Vec<Option<AwsAllow>> = items.iter().map(|item| statement(doc, item, class, around)).collect();
        all.into_iter().collect()
    });
    table.finish();
    Some(AwsRole { arn: arn?, external_id: external_id?, allow: allow? })
}

fn statement(doc: &Document<'_>, cell: &Cell<'_>, class: Class, around: &Around<'_>) -> Option<AwsAllow> {
    let mut table = doc.table(cell, "a statement", ALLOW)?;
    let (actions, resources) =
        (table.need("actions", "[\"s3:GetObject\"]"), table.need("resources", "[\"arn:aws:s3:::orders/{tenant}/*\"]"));
    table.finish();
    let (actions, resources) = (actions?, resources?);
    let count = |cell: &Cell<'_>, items: &[Cell<'_>]| {
        let good = (1..=PARTS_MAX).contains(&items.len());
        if !good {
            doc.error(&cell.span(), format!("expected 1 to {PARTS_MAX} of them"), format!("for example: {ALLOW}"));
        }
        good.then_some(())
    };
    let items = doc.array(actions, ALLOW)?;
    count(actions, items)?;
    let all_actions: Vec<Option<String>> = items.iter().map(|item| action(doc, item, class)).collect();
    let items = doc.array(resources, ALLOW)?;
    count(resources, items)?;
    let one = |item: &Cell<'_>| {
        let text = doc.line(item, ALLOW)?;
        if text != "*" && !text.starts_with("arn:") {
            doc.error(&item.span(), "this is no ARN", format!("for example: {ALLOW}"));
            return None;
        }
        narrowed(doc, item, &text, around.scope)
    };
    let all_resources: Vec<Option<Template>> = items.iter().map(one).collect();
    let actions: Option<Vec<_>> = all_actions.into_iter().collect();
    let resources: Option<Vec<_>> = all_resources.into_iter().collect();
    Some(AwsAllow { actions: actions?, resources: resources? })
}

fn action(doc: &Document<'_>, cell: &Cell<'_>, class: Class) -> Option<String> {
    let text = doc.line(cell, ALLOW)?;
    let wrong = |message: String, remedy: &str| {
        doc.error(&cell.span(), message, remedy);
        None
    };
    let Some((service, name)) = text.split_once(':').filter(|(service, name)| !service.is_empty() && !name.is_empty())
    else {
        return wrong("expected an action of a service".to_owned(), "for example: \"s3:GetObject\"");
    };
    let good = |c: char| c.is_ascii_alphanumeric() || "-*?".contains(c);
    if !text.chars().all(|c| good(c) || c == ':') || service.contains(['*', '?']) || name.contains(':') {
        return wrong("expected an action of a service".to_owned(), "for example: \"s3:GetObject\"");
    }
    let looks = LOOKS.iter().any(|word| name.starts_with(word));
    let lower = service.to_ascii_lowercase();
    if lower == "sts" || (MORE.contains(&lower.as_str()) && !looks) {
        // A session that was made out of one is not ended with it, nor is a key.
        return wrong(format!("`{text}` makes what outlives a session"), "name what the class needs");
    }
    if class == Class::Read && !looks {
        return wrong(
            format!("`{text}` lets a session of the class read change something"),
            "give it to the class write",
        );
    }
    Some(text)
}
