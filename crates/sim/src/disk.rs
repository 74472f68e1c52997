//! A log in memory that fails when told to, and outlives the process.

use portreeve_core::{
    event::{Record, encode},
    hash::Hash,
    log::{Append, Group, Head, Log, Read, Space},
};
use std::{cell::RefCell, rc::Rc};

/// What goes wrong with the next append
#[derive(Clone, Debug)]
pub enum Fault {
    /// No space, although there was some a moment ago
    Full,
    /// The answer is unknown; the group is durable
    UnknownLanded,
    /// The answer is unknown; the group is lost
    UnknownLost,
    /// Another writer came first, with this record
    Conflict(Box<Record>),
    /// The process dies; the group is durable
    DiesLanded,
    /// The process dies; the group is lost
    DiesLost,
}

/// One log, shared by the lives of the process
#[derive(Clone, Debug, Default)]
pub struct Disk(Rc<RefCell<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    groups: Vec<Group>,
    /// Groups that survive a crash; all of them unless the disk lies
    durable: usize,
    blobs: Vec<(Hash, Vec<u8>)>,
    fault: Option<Fault>,
    full: bool,
    /// Groups that fit into the space kept back
    reserve: u32,
    /// Reads and recoveries that will fail
    unreadable: u32,
    in_doubt: bool,
    /// Something else than a full disk went wrong since it was last healed
    disturbed: bool,
    dead: bool,
    lies: bool,
}

const RESERVE_GROUPS: u32 = 64;

impl Disk {
    /// An empty log; one that lies calls groups durable that a crash will lose
    #[must_use]
    pub fn new(lies: bool) -> Self {
        Self(Rc::new(RefCell::new(Inner { lies, reserve: RESERVE_GROUPS, ..Inner::default() })))
    }

    /// Lets the next append go wrong
    pub fn arm(&self, fault: Fault) {
        let mut inner = self.0.borrow_mut();
        inner.fault = Some(fault);
        inner.disturbed = true;
    }

    /// Whether something else than a full disk went wrong since it was last healed
    pub fn was_disturbed(&self) -> bool {
        self.0.borrow().disturbed
    }

    /// From now on only the reserve is left
    pub fn fill(&self) {
        self.0.borrow_mut().full = true;
    }

    /// Only the reserve is left, and there is some
    pub fn is_full(&self) -> bool {
        let inner = self.0.borrow();
        inner.full && inner.reserve > 1
    }

    /// Lets so many reads fail
    pub fn hide(&self, reads: u32) {
        self.0.borrow_mut().unreadable = reads;
    }

    /// Nothing is wrong any more
    pub fn heal(&self) {
        let mut inner = self.0.borrow_mut();
        inner.full = false;
        inner.unreadable = 0;
        inner.disturbed = inner.in_doubt;
        inner.reserve = RESERVE_GROUPS;
        inner.fault = None;
    }

    /// Whether the process died in an append
    pub fn is_dead(&self) -> bool {
        self.0.borrow().dead
    }

    /// What a new life of the process finds
    pub fn restart(&self) {
        let mut inner = self.0.borrow_mut();
        let durable = inner.durable;
        inner.groups.truncate(durable);
        inner.dead = false;
        inner.in_doubt = false;
        inner.unreadable = 0;
        inner.fault = None;
    }

    /// Durable groups that follow group `after`
    pub fn durable(&self, after: u64) -> Vec<Group> {
        let inner = self.0.borrow();
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        inner.groups.iter().take(inner.durable).skip(after).cloned().collect()
    }
}

impl Inner {
    fn head(&self) -> Head {
        self.groups.last().map(Group::head).unwrap_or_default()
    }

    fn land(&mut self, group: &Group) {
        self.blobs.extend(group.blobs.iter().cloned());
        self.groups.push(group.clone());
        // A lying disk makes every third group durable, and those before it, as a cache that is written back.
        if !self.lies || self.groups.len().is_multiple_of(3) {
            self.durable = self.groups.len();
        }
    }
}

impl Log for Disk {
    fn head(&self) -> Head {
        self.0.borrow().head()
    }

    fn append(&mut self, expected: Head, group: &Group, space: Space) -> Result<Head, Append> {
        let mut inner = self.0.borrow_mut();
        if inner.dead || inner.in_doubt {
            return Err(Append::Unknown("not recovered".to_owned()));
        }
        let head = inner.head();
        if head != expected || group.n != head.n + 1 {
            return Err(Append::Conflict(head));
        }
        match inner.fault.take() {
            None => {}
            Some(Fault::Full) => return Err(Append::Full),
            Some(Fault::Conflict(record)) => {
                if let Ok(foreign) = encode(head, &mut [*record], Vec::new()) {
                    inner.land(&foreign);
                }
                return Err(Append::Conflict(inner.head()));
            }
            Some(fault) => {
                if matches!(fault, Fault::UnknownLanded | Fault::DiesLanded) {
                    inner.land(group);
                }
                inner.in_doubt = true;
                inner.dead = matches!(fault, Fault::DiesLanded | Fault::DiesLost);
                return Err(Append::Unknown("no answer".to_owned()));
            }
        }
        if inner.full {
            if space == Space::Ordinary || inner.reserve == 0 {
                return Err(Append::Full);
            }
            inner.reserve -= 1;
        }
        inner.land(group);
        Ok(inner.head())
    }

    fn recover(&mut self) -> Result<Head, Read> {
        let mut inner = self.0.borrow_mut();
        inner.readable()?;
        inner.in_doubt = false;
        Ok(inner.head())
    }

    fn read(&self, after: u64, count: usize) -> Result<Vec<Group>, Read> {
        let mut inner = self.0.borrow_mut();
        inner.readable()?;
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        Ok(inner.groups.iter().skip(after).take(count).cloned().collect())
    }

    fn blob(&self, digest: Hash) -> Result<Option<Vec<u8>>, Read> {
        let mut inner = self.0.borrow_mut();
        inner.readable()?;
        Ok(inner.blobs.iter().find(|(known, _)| *known == digest).map(|(_, blob)| blob.clone()))
    }
}

impl Inner {
    fn readable(&mut self) -> Result<(), Read> {
        if self.dead {
            return Err(Read::Storage("the process is gone".to_owned()));
        }
        if self.unreadable > 0 {
            self.unreadable -= 1;
            return Err(Read::Storage("no answer".to_owned()));
        }
        Ok(())
    }
}
