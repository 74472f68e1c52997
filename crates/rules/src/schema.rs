//! JSON Schemas of the TOML files, for editors.
//!
//! They say which keys there are and of which form; what a file means is said by `check` alone.

/// Every kind of file and its schema, as text
pub const SCHEMAS: [(&str, &str); 10] = [
    ("agent", include_str!("../../../schemas/agent.schema.json")),
    ("user", include_str!("../../../schemas/user.schema.json")),
    ("issuer", include_str!("../../../schemas/issuer.schema.json")),
    ("connector", include_str!("../../../schemas/connector.schema.json")),
    ("credential", include_str!("../../../schemas/credential.schema.json")),
    ("profile", include_str!("../../../schemas/profile.schema.json")),
    ("purpose", include_str!("../../../schemas/purpose.schema.json")),
    ("receiver", include_str!("../../../schemas/receiver.schema.json")),
    ("roles", include_str!("../../../schemas/roles.schema.json")),
    ("point", include_str!("../../../schemas/point.schema.json")),
];

#[cfg(test)]
mod tests;
