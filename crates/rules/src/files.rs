//! The folder of policy as text: which files belong to it, its digest, and how it is kept in the log.

use crate::finding::{Finding, Place};
use crate::words::suggest;
use portreeve_core::{hash::Hash, names::Name, value::Value};
use std::{
    collections::BTreeMap,
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};

/// The files of a bundle by their path in the folder
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<String, String>);

impl FromIterator<(String, String)> for Files {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(files: I) -> Self {
        Self(files.into_iter().collect())
    }
}

impl Files {
    /// Reads a folder
    ///
    /// Hidden files, backups of editors and `*.md` are no policy. Any other file that is not understood is an
    /// error: a rule in a misspelt folder would never refuse anything.
    ///
    /// # Errors
    /// Everything that is wrong with the folder.
    pub fn read(dir: &Path) -> Result<Self, Vec<Finding>> {
        let mut walk = Walk::default();
        let root = dir.canonicalize().map_err(|error| vec![unreadable(&dir.display().to_string(), &error)])?;
        for name in walk.names(&root, "") {
            if root.join(&name).is_dir() && Folder::named(&name).is_some() {
                for file in walk.names(&root, &name) {
                    let path = format!("{name}/{file}");
                    // A decision point has a folder of its own.
                    if name == EXTRA && root.join(&path).is_dir() {
                        for inner in walk.names(&root, &path) {
                            walk.file(&root, format!("{path}/{inner}"));
                        }
                    } else {
                        walk.file(&root, path);
                    }
                }
            } else {
                walk.file(&root, name);
            }
        }
        if walk.findings.is_empty() { Ok(Self(walk.files)) } else { Err(walk.findings) }
    }

    /// The text that the log keeps: one JSON object, paths to contents, in canonical form
    #[must_use]
    pub fn blob(&self) -> Vec<u8> {
        let members = self.0.iter().map(|(path, text)| (path.clone(), Value::String(text.clone())));
        Value::Object(members.collect()).canonical().into_bytes()
    }

    /// Reads back what [`blob`](Self::blob) wrote
    #[must_use]
    pub fn from_blob(blob: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(blob).ok()?;
        let Value::Object(members) = Value::from_canonical(text).ok()? else { return None };
        let file = |(path, value): (String, Value)| match value {
            Value::String(text) => Some((path, text)),
            _ => None,
        };
        members.into_iter().map(file).collect::<Option<BTreeMap<_, _>>>().map(Self)
    }

    /// The files whose paths begin so
    pub(crate) fn under(&self, folder: &str) -> BTreeMap<&str, &str> {
        let inside = self.0.iter().filter(|(path, _)| path.starts_with(folder));
        inside.map(|(path, text)| (path.as_str(), text.as_str())).collect()
    }

    /// The digest that names these files
    #[must_use]
    pub fn digest(&self) -> Hash {
        Hash::of(&self.blob())
    }

    /// The files that are policy, in their folders and with the names that they give
    pub(crate) fn sorted(&self) -> Result<Vec<File<'_>>, Vec<Finding>> {
        let mut files = Vec::new();
        let mut findings = Vec::new();
        for (path, text) in &self.0 {
            match Folder::of(path) {
                Ok((folder, name)) => files.push(File { path, text, folder, name }),
                Err((message, remedy)) => findings.push(Finding::error(Place::file(path), message, remedy)),
            }
        }
        if findings.is_empty() { Ok(files) } else { Err(findings) }
    }
}

/// One file of policy
#[derive(Clone, Debug)]
pub(crate) struct File<'a> {
    pub(crate) path: &'a str,
    pub(crate) text: &'a str,
    pub(crate) folder: Folder,
    pub(crate) name: Name,
}

/// What the files of a folder say
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Folder {
    Agents,
    Users,
    Issuers,
    Connectors,
    /// Where credentials come from
    Credentials,
    Profiles,
    Pins,
    Purposes,
    Rules,
    Receivers,
    /// The roles of groups and people
    Roles,
    /// What an outside decision point is
    Extra,
    /// What it holds
    ExtraFiles,
}

/// The folder of outside decision points
const EXTRA: &str = "extra";
/// What the folder of one of them may hold
const EXTRA_ENDINGS: [&str; 4] = [".cedar", ".cedarschema", ".json", ".rego"];

impl Folder {
    const ALL: [(&'static str, &'static str, Self); 11] = [
        ("agents", ".toml", Self::Agents),
        ("users", ".toml", Self::Users),
        ("issuers", ".toml", Self::Issuers),
        ("connectors", ".toml", Self::Connectors),
        ("credentials", ".toml", Self::Credentials),
        ("profiles", ".toml", Self::Profiles),
        ("pins", ".json", Self::Pins),
        ("purposes", ".toml", Self::Purposes),
        ("rules", ".cedar", Self::Rules),
        ("receivers", ".toml", Self::Receivers),
        (EXTRA, ".toml", Self::Extra),
    ];

    /// The one file beside the folders
    pub(crate) const ROLES: &'static str = "roles.toml";

    fn named(name: &str) -> Option<(&'static str, Self)> {
        Self::ALL.iter().find(|(known, ..)| *known == name).map(|(_, ending, folder)| (*ending, *folder))
    }

    /// How long a file in it may be
    fn bytes_max(self) -> usize {
        if self == Self::Pins { PINS_BYTES_MAX } else { FILE_BYTES_MAX }
    }

    /// The folder of a path and the name that it gives
    fn of(path: &str) -> Result<(Self, Name), (String, String)> {
        if path == Self::ROLES {
            let name = "roles".parse().map_err(|error| (format!("{error}"), String::new()))?;
            return Ok((Self::Roles, name));
        }
        let layout = "a policy has agents/, users/, issuers/, connectors/, credentials/, profiles/, purposes/, receivers/, extra/ \
             with *.toml, pins/ with *.json, rules/ with *.cedar, and roles.toml";
        let (folder, file) = path.split_once('/').unwrap_or((path, ""));
        if let (EXTRA, Some((name, inner))) = (folder, file.split_once('/')) {
            if inner.contains('/')
                || !EXTRA_ENDINGS.iter().any(|ending| inner.len() > ending.len() && inner.ends_with(ending))
            {
                let remedy = format!(
                    "the folder of a decision point holds {}",
                    EXTRA_ENDINGS.map(|ending| format!("*{ending}")).join(", ")
                );
                return Err((format!("`{path}` is no part of a decision point"), remedy));
            }
            let name = name.parse().map_err(|error| (format!("{error}"), "rename the folder".to_owned()))?;
            return Ok((Self::ExtraFiles, name));
        }
        let Some((ending, folder)) = Self::named(folder) else {
            let near = suggest(folder, Self::ALL.iter().map(|(name, ..)| *name));
            return Err((format!("`{path}` is no part of a policy"), format!("{near}\n  = {layout}")));
        };
        let stem = file.strip_suffix(ending).filter(|stem| !stem.contains('/'));
        let stem = stem.ok_or_else(|| (format!("`{path}` is no part of a policy"), layout.to_owned()))?;
        let name = stem.parse().map_err(|error| (format!("{error}"), "rename the file".to_owned()))?;
        Ok((folder, name))
    }
}

#[derive(Debug, Default)]
struct Walk {
    files: BTreeMap<String, String>,
    findings: Vec<Finding>,
    bytes: usize,
}

impl Walk {
    /// The names in a folder that may be policy, in order
    fn names(&mut self, root: &Path, folder: &str) -> Vec<String> {
        let mut names = Vec::new();
        let entries = self.inside(root, folder).map(fs::read_dir);
        let entries = match entries {
            Some(Ok(entries)) => entries,
            Some(Err(error)) => {
                self.findings.push(unreadable(folder, &error));
                return names;
            }
            None => return names,
        };
        for entry in entries {
            match entry.map(|entry| entry.file_name().into_string()) {
                Ok(Ok(name)) if is_no_policy(&name) => {}
                Ok(Ok(name)) => names.push(name),
                Ok(Err(name)) => {
                    let place = Place::file(format!("{folder}/{}", name.display()));
                    self.findings.push(Finding::error(place, "the file name is not UTF-8", "rename the file"));
                }
                Err(error) => self.findings.push(unreadable(folder, &error)),
            }
        }
        names.sort();
        names
    }

    fn file(&mut self, root: &Path, path: String) {
        let place = Place::file(&path);
        let bytes_max = match Folder::of(&path) {
            Ok((folder, _)) => folder.bytes_max(),
            Err((message, remedy)) => {
                self.findings.push(Finding::error(place, message, remedy));
                return;
            }
        };
        let Some(target) = self.inside(root, &path) else { return };
        if self.files.len() >= FILES_MAX || self.bytes > BYTES_MAX {
            let limit = format!("a policy has at most {FILES_MAX} files and {BYTES_MAX} bytes");
            if self.findings.last().is_none_or(|last| last.message != limit) {
                self.findings.push(Finding::error(place, limit, "split it over several data folders"));
            }
            return;
        }
        let finding = match text(&target, bytes_max) {
            Ok(text) => {
                self.bytes += text.len();
                self.files.insert(path, text);
                return;
            }
            Err(Content::Io(error)) => unreadable(&path, &error),
            Err(Content::Kind) => Finding::error(place, "not a regular file", "put a file there"),
            Err(Content::Long) => {
                Finding::error(place, format!("longer than {bytes_max} bytes"), "split it into several files")
            }
            Err(Content::Utf8(at)) => Finding::error(
                place,
                format!("not UTF-8 at byte {at}"),
                "save the file as UTF-8 without a byte order mark",
            ),
        };
        self.findings.push(finding);
    }

    /// Where a path leads, if that is inside the folder
    ///
    /// SAFETY(security): a link out of the folder would make text that nobody reviewed part of the policy,
    /// and put a foreign file into the log.
    fn inside(&mut self, root: &Path, path: &str) -> Option<PathBuf> {
        match root.join(path).canonicalize() {
            Ok(target) if target.starts_with(root) => Some(target),
            Ok(_) => {
                let remedy = "copy the file into the folder; everything that the policy says stands in it";
                self.findings.push(Finding::error(Place::file(path), "the link leaves the folder", remedy));
                None
            }
            Err(error) => {
                self.findings.push(unreadable(path, &error));
                None
            }
        }
    }
}

/// Files in one policy
const FILES_MAX: usize = 20_000;
/// Bytes of one file
const FILE_BYTES_MAX: usize = 1 << 20;
/// Bytes of the definitions of one connector's tools: as many as one answer of a server may have
const PINS_BYTES_MAX: usize = 4 << 20;
/// Bytes of all files; the log keeps every version, and reads back at most 64 MiB of escaped text
const BYTES_MAX: usize = 8 << 20;

enum Content {
    Io(io::Error),
    Kind,
    Long,
    Utf8(usize),
}

fn text(path: &Path, bytes_max: usize) -> Result<String, Content> {
    // Asked before it is opened: opening a pipe would wait for ever.
    if !fs::metadata(path).map_err(Content::Io)?.is_file() {
        return Err(Content::Kind);
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(Content::Io)?;
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(Content::Io)?;
    if bytes.len() > bytes_max {
        return Err(Content::Long);
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(Content::Utf8(0));
    }
    String::from_utf8(bytes).map_err(|error| Content::Utf8(error.utf8_error().valid_up_to()))
}

fn is_no_policy(name: &str) -> bool {
    name.starts_with('.') || name.ends_with('~') || name.ends_with(".md")
}

fn unreadable(path: &str, error: &io::Error) -> Finding {
    Finding::error(Place::file(path), format!("cannot be read: {error}"), "")
}

#[cfg(test)]
mod tests;
