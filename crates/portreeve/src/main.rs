//! The command `portreeve`

mod demo;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "portreeve", version)]
struct Command {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Serve one of the demo's own servers
    #[command(name = "__demo-server", hide = true)]
    DemoServer {
        /// Which one
        server: demo::Server,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Command::parse().part {
        Part::DemoServer { server } => demo::serve(server).await,
    }
}
