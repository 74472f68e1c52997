//! The commands and their arguments.

use clap::{Args, Parser, Subcommand};
use portreeve_core::{
    event::KeyUse,
    hash::Hash,
    names::{EffectId, GrantId, Name, TaskId},
    node::Node,
};
use portreeve_identity::svid::{SpiffeId, TrustDomain};
use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

/// Zero trust for AI agents that use tools over MCP: authorises the next action, not the session
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// The data folder [default: .portreeve here or above, else the user's own]
    #[arg(long, global = true, env = "PORTREEVE_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The server where you are signed in, for what works over there (docs/roles.md); without it, the data folder of this machine
    #[arg(long, global = true, env = "PORTREEVE_SERVER", value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Print data as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 refused by policy, \
    5 waits for people, 6 verification failed, 7 cannot reach the server, 8 conflict. `exec` passes the agent's own on.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what Portreeve does, with built-in servers and nothing to set up
    Demo(Demo),
    /// Make a data folder and a first policy here
    Init(Init),
    /// Serve a data folder
    Serve(Serve),
    /// Run an agent on a task; the task ends with it
    Exec(Exec),
    /// Speak MCP on standard input and output, through Portreeve
    Bridge(Bridge),
    /// Open, list, show and stop tasks
    #[command(subcommand)]
    Task(Task),
    /// Stop anything that lives: agent:NAME, user:NAME, connector:NAME, purpose:NAME, a run, a task, a grant, a hold, all
    Kill {
        /// What to stop
        node: Node,
    },
    /// List questions that wait for people, or show one whole
    Approvals(Approvals),
    /// Say yes to exactly what a question shows
    Approve(Approve),
    /// Say no to a question
    Deny(Deny),
    /// List tasks of emergencies that nobody has reviewed yet
    Reviews,
    /// Close the review of an emergency's task
    Review {
        /// Of which task
        task: TaskId,
        /// What you say of it, in a sentence
        #[arg(long)]
        why: String,
        /// As this user of the policy, if several have your account
        #[arg(long = "as", value_name = "USER")]
        by: Option<Name>,
    },
    /// Print a link that signs somebody in on the console, once
    Console {
        /// Whom [default: the user of your account]
        #[arg(long = "for", value_name = "USER")]
        user: Option<Name>,
    },
    /// Sign in at a server (--server), where your organisation knows you
    Login {
        /// At this issuer of its policy [default: the only one]
        #[arg(long)]
        issuer: Option<Name>,
    },
    /// Sign out of a server (--server)
    Logout,
    /// Say who you are, here or at a server (--server), and what you may do
    Whoami,
    /// Say which role lets whom do what
    #[command(subcommand)]
    Role(Role),
    /// Add agents, look at them, halt and retire them
    #[command(subcommand)]
    Agent(Agent),
    /// Add and look at connectors, the MCP servers behind Portreeve
    #[command(subcommand)]
    Connector(Connector),
    /// Check, show and apply the policy, go back, observe
    #[command(subcommand)]
    Policy(Policy),
    /// Read and verify the record
    #[command(subcommand)]
    Audit(Audit),
    /// Put into the vault what back ends of credentials need, list it, take it out
    #[command(subcommand)]
    Secret(Secret),
    /// List the credentials that tasks have, and where they come from
    #[command(subcommand)]
    Lease(Lease),
    /// Connect your account at an authorization server, so that tasks on your behalf work with it; list and disconnect accounts
    #[command(subcommand)]
    Account(Account),
    /// List and exchange the keys of this data folder
    #[command(subcommand)]
    Key(Key),
    /// Say what a reason word means and what to do
    Explain {
        /// The word; all of them without one
        word: Option<String>,
    },
    /// Say what is being served
    Status,
    /// Look for what is wrong or needs attention; exit 1 if something does
    Doctor,
    /// Simulate the gateway, crashing at every step
    Sim(Sim),
    #[command(name = "__keeper", hide = true)]
    Keeper(Keeper),
    #[command(name = "__demo-server", hide = true)]
    DemoServer {
        /// Which
        which: crate::demo::Server,
        /// Where the shop keeps its refunds
        #[arg(long)]
        books: Option<PathBuf>,
        /// The ledger of the shop's keys; without it, the shop wants none
        #[arg(long)]
        keys: Option<PathBuf>,
    },
    #[command(name = "__demo-keys", hide = true)]
    DemoKeys {
        /// The ledger of the shop's keys
        ledger: PathBuf,
    },
    #[command(name = "__bench-subject", hide = true)]
    BenchSubject {
        /// The upstream to put Portreeve in front of
        upstream: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// List the roles: who has them, and what each lets somebody do
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Agent {
    /// Write the file of a new agent and put the policy into force
    Add(AddAgent),
    /// List agents: who answers for them, how they prove themselves, when they were seen
    List,
    /// Show one
    Show {
        /// Which
        name: Name,
    },
    /// Halt an agent: its calls are refused until it goes on, its tasks stay
    Pause {
        /// Which
        name: Name,
        /// Why, in a sentence
        #[arg(long, default_value = "")]
        why: String,
    },
    /// Let an agent go on
    Resume {
        /// Which
        name: Name,
        /// Why, in a sentence
        #[arg(long, default_value = "")]
        why: String,
    },
    /// End an agent with all of its tasks
    Retire {
        /// Which
        name: Name,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AddAgent {
    /// Its name
    pub(crate) name: Name,
    /// Who answers for it
    #[arg(long)]
    pub(crate) owner: String,
    /// What it is for, in a line
    #[arg(long)]
    pub(crate) about: Option<String>,
    /// The day after which it gets nothing until somebody has looked at it: 2027-03-01
    #[arg(long, value_name = "DATE")]
    pub(crate) review_by: Option<jiff::civil::Date>,
    /// It shows this SPIFFE ID
    #[arg(long, value_name = "ID")]
    pub(crate) spiffe: Vec<String>,
    /// It shows a token of this issuer of the policy, with the claims of --claim
    #[arg(long, requires = "claim")]
    pub(crate) issuer: Option<Name>,
    /// What the token has to say
    #[arg(long, value_name = "CLAIM=VALUE", requires = "issuer")]
    pub(crate) claim: Vec<String>,
    /// It signs with the key whose public half, a JWK, is in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// It is this program on this machine, which its owner starts with `exec`; or the script, of an interpreter's file
    #[arg(long, value_name = "FILE")]
    pub(crate) program: Option<PathBuf>,
    /// Several holders may show the same proof at once
    #[arg(long)]
    pub(crate) replicas: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// End by itself; exit 0 only if everything went as expected
    #[arg(long)]
    pub(crate) once: bool,
    /// Another scenario than the built-in one
    #[arg(long, value_name = "FILE")]
    pub(crate) scenario: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Where [default: here]
    pub(crate) folder: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where agents reach it; port 0 lets the system choose [default: as configured, else 127.0.0.1:7420]
    #[arg(long)]
    pub(crate) listen: Option<SocketAddr>,
    /// The policy directory [default: the `policy` in portreeve.toml]
    #[arg(long, value_name = "DIR")]
    pub(crate) policy: Option<PathBuf>,
    /// Give processes of this machine identities of this trust domain, at a SPIFFE Workload API of our own
    #[arg(long, value_name = "TRUST_DOMAIN")]
    pub(crate) spiffe: Option<TrustDomain>,
}

/// What a task is opened with
#[derive(Debug, Args)]
pub(crate) struct Opening {
    /// The purpose of the task
    #[arg(long)]
    pub(crate) purpose: Name,
    /// The agent that works; may be left out where only one may
    #[arg(long)]
    pub(crate) agent: Option<Name>,
    /// A parameter of the purpose
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub(crate) parameters: Vec<String>,
    /// What for, in a sentence
    #[arg(long)]
    pub(crate) objective: Option<String>,
    /// Where people have to agree to it, do not wait for them: exit 5, and open it with the same command afterwards
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Approvals {
    /// Which one to show, by its code or id
    pub(crate) code: Option<String>,
    /// Also list those that are answered or over, as long as they are remembered
    #[arg(long, conflicts_with = "code")]
    pub(crate) all: bool,
    /// As this user of the policy would see it, if several have your account
    #[arg(long = "as", value_name = "USER", requires = "code")]
    pub(crate) by: Option<Name>,
}

#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// Which question, by its code or id
    pub(crate) code: String,
    /// Why, in a sentence
    #[arg(long, default_value = "")]
    pub(crate) why: String,
    /// As this user of the policy, if several have your account
    #[arg(long = "as", value_name = "USER")]
    pub(crate) by: Option<Name>,
    /// Say yes to what is shown without asking again
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Deny {
    /// Which question, by its code or id
    pub(crate) code: String,
    /// Why, in a sentence; the agent is told
    #[arg(long)]
    pub(crate) why: String,
    /// As this user of the policy, if several have your account
    #[arg(long = "as", value_name = "USER")]
    pub(crate) by: Option<Name>,
}

#[derive(Debug, Args)]
pub(crate) struct Elevate {
    /// In which task
    pub(crate) task: TaskId,
    /// A tool, as `connector.tool` or `connector.tool#variant`; all of one class
    #[arg(long = "tool", required = true)]
    pub(crate) tools: Vec<String>,
    /// A value that an argument must have: JSON, or text as it is
    #[arg(long = "value", value_name = "NAME=VALUE")]
    pub(crate) values: Vec<String>,
    /// For how many calls
    #[arg(long)]
    pub(crate) times: u32,
    /// For how long: 5m, 1h
    #[arg(long = "for", value_name = "TIME")]
    pub(crate) lasts: String,
    /// Why, in a sentence
    #[arg(long)]
    pub(crate) why: String,
}

#[derive(Debug, Args)]
pub(crate) struct Exec {
    #[command(flatten)]
    pub(crate) opening: Opening,
    /// The agent's command; `{mcp_config}` becomes the path of a client configuration, `{mcp_url}` the address
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Bridge {
    /// The connector to speak to [default: all of the task, with names like connector__tool]
    pub(crate) connector: Option<Name>,
    /// The task [default: the one of `exec` around this process]
    #[arg(long)]
    pub(crate) task: Option<TaskId>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Open a task, and print how a client joins it
    Open {
        #[command(flatten)]
        opening: Opening,
        /// Print only a token, minutes long
        #[arg(long)]
        token: bool,
    },
    /// List tasks
    List,
    /// Show a task
    Show {
        /// Which
        task: TaskId,
    },
    /// Print a fresh token for a task; inside `exec`, for its own
    Token {
        /// Which
        task: Option<TaskId>,
    },
    /// Open a class for a while: for these tools with exactly these values, or ask the people who may
    Elevate(Elevate),
    /// Stop a task
    Stop {
        /// Which
        task: TaskId,
    },
    /// Take back what a task did, the last first: shows the calls that would, asks, and makes them
    Undo(Undo),
}

#[derive(Debug, Args)]
pub(crate) struct Undo {
    /// Which
    pub(crate) task: TaskId,
    /// Only show what would be done
    #[arg(long)]
    pub(crate) plan: bool,
    /// Leave this call as it is; may be repeated
    #[arg(long, value_name = "EFFECT")]
    pub(crate) skip: Vec<EffectId>,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// As this user of the policy
    #[arg(long = "as", value_name = "USER")]
    pub(crate) user: Option<Name>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Connector {
    /// Look at what a server offers, accept it, and write its files
    Add {
        /// Its name here
        name: Name,
        /// Its address, for a server over HTTP
        url: Option<String>,
        /// The SPIFFE ID that the server behind the address has to show an X.509-SVID of
        #[arg(long, value_name = "ID", requires = "url")]
        spiffe: Option<SpiffeId>,
        /// Show our own X.509-SVID to the server behind the address
        #[arg(long, requires = "url")]
        svid: bool,
        /// Take over a profile that comes with Portreeve, or one of the policy's own
        #[arg(long)]
        profile: Option<Name>,
        /// Accept without asking
        #[arg(long)]
        yes: bool,
        /// Its command, for a server over standard input and output
        #[arg(last = true, value_name = "COMMAND", conflicts_with = "url")]
        command: Vec<String>,
    },
    /// List connectors
    List,
    /// List the profiles that come with Portreeve, and the servers that they were written from
    Profiles,
    /// Compare what a connector offers with what was accepted
    Show {
        /// Which
        name: Name,
    },
    /// Accept what a connector offers now
    Accept {
        /// Which
        name: Name,
        /// Accept exactly the offer that `show` printed with this digest, without asking
        #[arg(long, value_name = "DIGEST")]
        digest: Option<Hash>,
        /// Accept whatever it offers now, without asking
        #[arg(long, conflicts_with = "digest")]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Check the files of a policy directory, and whether its cases hold
    Check {
        /// Which [default: the one of this data folder]
        folder: Option<PathBuf>,
    },
    /// Show the purposes of a policy directory
    Show {
        /// Only this one
        purpose: Option<Name>,
        /// Which policy directory [default: the one of this data folder]
        #[arg(long = "dir", value_name = "DIR")]
        folder: Option<PathBuf>,
        /// As Cedar policies, for tools that analyse it
        #[arg(long)]
        cedar: bool,
        /// The Cedar schema of what rules can look at; with --cedar, that of the policies
        #[arg(long)]
        schema: bool,
    },
    /// Put the policy directory into force, if it has no errors and its cases pass
    Apply,
    #[command(flatten)]
    Author(crate::commands::author::Author),
    /// List every version of the policy that was in force
    History,
    /// Put a version that was in force before into force again
    Rollback {
        /// Its digest, or at least 8 digits of it
        digest: String,
    },
    /// Let calls outside of the purpose through for a while, and mark them in the record
    Observe {
        /// For how long: 30m, 2h, at most 7d
        #[arg(long = "for", value_name = "TIME")]
        lasts: String,
        /// Why, in a sentence
        #[arg(long)]
        why: String,
        #[command(flatten)]
        on: On,
    },
    /// End observe mode at once
    Enforce {
        /// Only this grant
        #[arg(conflicts_with_all = ["purpose", "connector", "all"], required_unless_present_any = ["purpose", "connector", "all"])]
        grant: Option<GrantId>,
        #[command(flatten)]
        on: OnOrGrant,
    },
    /// List what is in observe mode
    Modes,
}

/// What a mode is about
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct On {
    /// Tasks of this purpose
    #[arg(long)]
    pub(crate) purpose: Option<Name>,
    /// Calls to this connector
    #[arg(long)]
    pub(crate) connector: Option<Name>,
    /// The whole policy
    #[arg(long)]
    pub(crate) all: bool,
}

/// What a mode is about, unless a grant is named
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct OnOrGrant {
    /// Grants about this purpose
    #[arg(long)]
    pub(crate) purpose: Option<Name>,
    /// Grants about this connector
    #[arg(long)]
    pub(crate) connector: Option<Name>,
    /// Every grant
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// The last records
    Tail {
        /// How many
        #[arg(short = 'n', long, default_value_t = 20)]
        count: usize,
    },
    /// Every record about an id: a task, run or effect
    Show {
        /// The id
        id: String,
    },
    /// Bring this record, with proofs, to another Portreeve that keeps it: as often as you like, it goes on where it ended
    Ship(Ship),
    /// List the records of others that were brought here
    Shipped,
    /// Check that no record was changed, dropped or reordered
    Verify {
        /// An earlier end of the record, as `n:hash`, which must still be part of it
        #[arg(long, value_name = "N:HASH")]
        checkpoint: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Ship {
    /// Where: the address of the other Portreeve
    #[arg(long, value_name = "URL")]
    pub(crate) to: String,
    /// Prove it with the token in this file [default: the OpenID Connect token of the CI runner]
    #[arg(long, value_name = "FILE", env = "PORTREEVE_PROOF_FILE")]
    pub(crate) proof: Option<PathBuf>,
    /// Whom the runner's token is to be meant for [default: that address]
    #[arg(long, value_name = "NAME", env = "PORTREEVE_AUDIENCE")]
    pub(crate) audience: Option<String>,
    /// Leave out what the record only commits to: parameters, arguments, reasons, and the texts of policies
    #[arg(long)]
    pub(crate) bare: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    /// List the secrets by name, and what uses each; none is ever shown
    List,
    /// Put a secret into the vault, or another one in its place: from standard input, typed unseen, or from a file
    Set {
        /// What it is called, as `credentials/*.toml` names it
        name: Name,
        /// Read it from this file
        #[arg(long)]
        file: Option<PathBuf>,
        /// How long the one before is still tried, such as 10m
        #[arg(long)]
        overlap: Option<String>,
        /// Take it although the same secret is there under another name; both are flagged
        #[arg(long)]
        legacy: bool,
    },
    /// Take a secret out of the vault
    Remove {
        /// Which
        name: Name,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Lease {
    /// List every credential that is not known to be of no use
    List,
    /// List where credentials come from, and try to reach each; exit 1 if one cannot be
    Sources,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Account {
    /// List your accounts; for the owner of the data folder, everybody's
    List,
    /// Connect your account for a source: agree in a browser, then paste the address at which it ends
    Connect {
        /// Which source, as `credentials/*.toml` names it
        source: Name,
        /// As which of the users whose account this is
        #[arg(long, value_name = "USER")]
        user: Option<Name>,
    },
    /// Forget an account, and have its server take it back
    Disconnect {
        /// Of which source
        source: Name,
        /// Whose, if it is not yours
        #[arg(long, value_name = "USER")]
        user: Option<Name>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// List every key that is of use: where it comes from, since when it signs, until when that counts
    List,
    /// Sign with another key from now on; what the one before signed still counts for a while
    Rotate {
        /// Which: token, answer, webhook, master or upstream
        name: KeyUse,
        /// Let nothing count any more that earlier keys signed or sealed: for a key that somebody else may have
        #[arg(long)]
        now: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Sim {
    /// The first seed
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many seeds
    #[arg(long, default_value_t = 1)]
    pub(crate) runs: u64,
    /// Print every step
    #[arg(long)]
    pub(crate) trace: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Keeper {
    /// The process that must be its parent
    #[arg(long)]
    pub(crate) parent: u32,
    /// Stay in the foreground of the terminal
    #[arg(long)]
    pub(crate) shared: bool,
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}
