//! How parts of the state are written into snapshots.

pub(super) mod head {
    use crate::{hash::Hash, log::Head};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::state) fn serialize<S: Serializer>(head: &Head, serializer: S) -> Result<S::Ok, S::Error> {
        (head.n, head.hash).serialize(serializer)
    }

    pub(in crate::state) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Head, D::Error> {
        let (n, hash) = <(u64, Hash)>::deserialize(deserializer)?;
        Ok(Head { n, hash })
    }
}

/// Maps as lists of pairs, for keys that JSON would not take
pub(super) mod pairs {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;

    pub(in crate::state) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(in crate::state) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
    }
}

/// Questions to people, with what their commitments stand for: whoever answers is shown it after a restart too
pub(super) mod opened {
    use crate::{commit::OpeningLine, event::Held};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;

    #[derive(Serialize, Deserialize)]
    struct Opened {
        held: Held,
        openings: Vec<OpeningLine>,
    }

    pub(in crate::state) fn serialize<S: Serializer>(held: &Held, serializer: S) -> Result<S::Ok, S::Error> {
        let mut held = held.clone();
        let lines = held.committed().into_iter().filter_map(|(field, value)| OpeningLine::new(0, field, value));
        let openings = lines.collect();
        Opened { held, openings }.serialize(serializer)
    }

    pub(in crate::state) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Held, D::Error> {
        let Opened { mut held, openings } = Opened::deserialize(deserializer)?;
        let mut fields: BTreeMap<String, _> = held.committed().into_iter().collect();
        for line in openings {
            if let Some(committed) = fields.get_mut(&line.field) {
                committed.open(line.opening());
            }
        }
        drop(fields);
        Ok(held)
    }
}
