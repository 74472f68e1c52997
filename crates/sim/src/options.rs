//! What a run plays, and which guard it plays without.

/// How one seed is played
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Steps before the world is brought to rest
    pub steps: u64,
    /// Whether disk, clock, upstream and process fail
    pub faults: bool,
    /// A fixed short story instead of random requests
    pub scripted: bool,
    /// One crash at exactly this step
    pub crash: Option<(u64, Crash)>,
    /// The guard that is missing
    pub sabotage: Option<Sabotage>,
    /// Whether the report tells every step
    pub trace: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { steps: 400, faults: true, scripted: false, crash: None, sabotage: None, trace: false }
    }
}

/// Where the process dies
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Between two steps
    Between,
    /// In the next append, after the group became durable and before anyone was told
    Landed,
    /// In the next append, before the group became durable
    Lost,
}

/// A guard of the shell or the disk that is taken away, to see that its absence is found
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Bytes leave while the admission is still being written
    ForwardBeforeDurable,
    /// Bytes leave under a closed latch
    IgnoreLatch,
    /// Bytes leave however old the permit is
    IgnoreDeadline,
    /// A call whose end is unknown is sent again
    RepeatUnknown,
    /// The disk says that a group is durable when it is not
    DiskLies,
    /// A call whose bytes left is settled as not sent
    NotSentAfterBytes,
    /// What an earlier life left open is not finished
    SkipRecovery,
    /// One permit, two calls
    ReusePermit,
    /// Children of ended tasks stay alive
    NoReap,
    /// Children are recorded as gone before they are
    ReapUnverified,
    /// The wall clock is taken for the steady one
    TrustWallClock,
    /// What a run delegates is opened as if the owner had asked
    DelegateAsOwner,
    /// A stop is acknowledged before it is recorded
    EarlyAcknowledgement,
    /// A stop closes the latch only once it is recorded
    LateLatch,
    /// The latch of a task does not close those below it
    ForgetAncestors,
    /// What memory is read back from says that grants last longer than they do
    LongerGrants,
    /// Bytes leave under a grant that is over
    IgnoreGrants,
    /// Whatever outside decision points say is taken for a yes
    IgnoreAnswers,
    /// What memory is read back from says that what was continued can be continued again
    KeepPending,
    /// What memory is read back from says that a question that was used still waits
    UseTwice,
    /// The policy that is judged with does not know whose own an agent is
    OwnYes,
    /// The policy that is judged with still has everybody who ever was an approver
    StaleYes,
    /// The policy that is judged with asks for one person fewer
    OneOfTwo,
    /// What memory is read back from says that nobody said no
    ForgetNo,
    /// What memory is read back from says that classes stay open, for any value and any number of calls
    WidenElevation,
}

impl Sabotage {
    /// Every one of them
    pub const ALL: &'static [Self] = &[
        Self::ForwardBeforeDurable,
        Self::IgnoreLatch,
        Self::IgnoreDeadline,
        Self::RepeatUnknown,
        Self::DiskLies,
        Self::NotSentAfterBytes,
        Self::SkipRecovery,
        Self::ReusePermit,
        Self::NoReap,
        Self::ReapUnverified,
        Self::TrustWallClock,
        Self::DelegateAsOwner,
        Self::EarlyAcknowledgement,
        Self::LateLatch,
        Self::ForgetAncestors,
        Self::LongerGrants,
        Self::IgnoreGrants,
        Self::IgnoreAnswers,
        Self::KeepPending,
        Self::UseTwice,
        Self::OwnYes,
        Self::StaleYes,
        Self::OneOfTwo,
        Self::ForgetNo,
        Self::WidenElevation,
    ];

    /// Whether it shows only in what is read back from a snapshot
    pub(crate) fn is_in_snapshots(self) -> bool {
        matches!(self, Self::KeepPending | Self::UseTwice | Self::ForgetNo | Self::WidenElevation)
    }
}
