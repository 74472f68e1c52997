//! The bundle of policy: a folder of TOML and Cedar, read into the types of the core.
//!
//! Start at [`load`]. [`Files`] is the folder as text, [`compile`] turns it into a
//! [`Bundle`](portreeve_core::policy::Bundle) or into [`Finding`]s that say where and what to do, [`check`]
//! also runs the `[[case]]`s. Cedar stands behind the port [`Rules`](portreeve_core::rules::Rules) and can
//! only take away. [`Definition`] is what a server says of a tool, [`Validator`] holds arguments against it.
//!
//! Architecture Invariant: the files of a folder are read once; everything after that is a pure function of
//! their text, so that a digest names exactly one policy. No clock, no network, no async. What is not
//! understood is an error, never ignored: a key, a file or a rule that is skipped would be one that nobody
//! enforces.

mod address;
mod bounds;
mod bundle;
mod case;
mod cedar;
pub mod changes;
mod connector;
mod coverage;
mod credential;
mod definition;
mod diff;
mod document;
mod explain;
mod extra;
mod facts;
mod files;
mod finding;
mod fits;
mod issuer;
mod lookalike;
pub mod operation;
mod overlay;
mod pattern;
mod people;
mod pins;
mod places;
mod profile;
mod proof;
mod purpose;
mod receiver;
mod replay;
mod review;
mod roles;
mod rule;
mod schema;
mod stage;
mod starter;
mod toolset;
mod trace;
mod undo;
mod usage;
mod words;

pub use bundle::{Checked, Loaded, Reader, check, compile, load};
pub use case::{Case, Tried};
pub use cedar::Exported;
pub use coverage::{Coverage, Gap, Tested};
pub use definition::{Definition, Hints, Refused, Schema, Validator};
pub use diff::{Change, Difference, Verdict, diff};
pub use document::duration_ms;
pub use explain::{Explanation, Layer, Line, Mark, Position, Unmet, word_of};
pub use files::Files;
pub use finding::{Finding, Place, Severity};
pub use lookalike::{How, Likeness, likenesses};
pub use pins::{Pins, pinned};
pub use places::Places;
pub use replay::{Against, Disagreement, Replay, Report, Version, rebuild};
pub use review::reviews;
pub use schema::SCHEMAS;
pub use stage::{For, Judgement, NOON, Opening, Opens, Stage};
pub use starter::{Adopted, adopt, init, starter};
pub use trace::{BadLine, Called, Followed, Trace, traces};
