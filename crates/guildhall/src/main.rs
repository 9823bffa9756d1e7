//! The `guildhall` program: arguments, configuration, roles.
//!
//! Owns: what may be typed, where logs go, which role runs. Deliberately does not: anything a role does.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod config;
mod ctl;
mod demo;
mod descriptors;
mod files;
mod health;
mod heap;
mod load_args;
mod roles;
mod server_args;
mod signal_args;
mod talk;
mod up;
mod welcome;

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// An open, self-hostable voice backend with its clients
#[derive(Debug, Parser)]
#[command(name = "guildhall", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
    /// How logs are written, on standard error
    #[arg(long, global = true, env = "GUILDHALL_LOG", value_enum, default_value_t = LogFormat::Text)]
    log: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// The whole server on one machine
    Up(Box<Node>),
    /// Of a cluster: clients' WebSockets, REST and the web client
    Gateway(Box<Node>),
    /// Of a cluster: owns guilds, voice states and placement
    Guilds(Box<Node>),
    /// Of a cluster: a voice server, with its relay
    Voice(Box<Node>),
    /// Makes the secret that every node of a cluster has
    ClusterKey {
        /// Where to write it
        file: PathBuf,
    },
    Talk(Box<talk::Talk>),
    Load(Box<load_args::Load>),
    /// The operator's hand: accounts, guilds, channels, servers, moderation
    Ctl(ctl::Ctl),
    Compare(talk::Compare),
    /// The relay: started by the server, never by hand
    #[command(hide = true, disable_help_flag = true)]
    Sfu {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Node {
    #[command(flatten)]
    options: config::Options,
    /// A TOML file with the same keys as the options
    #[arg(long, value_name = "FILE", env = "GUILDHALL_CONFIG")]
    config: Option<PathBuf>,
}

impl Node {
    fn read(self) -> anyhow::Result<config::Config> {
        config::Config::read(self.config, self.options)
    }
}

fn main() -> ExitCode {
    let Arguments { role, log } = Arguments::parse();
    // The relay has neither a runtime nor our logging.
    if let Role::Sfu { args } = role {
        return sfu::run(args);
    }
    start_logs(log, &role);
    if serves(&role)
        && let Err(error) = heap::watch()
    {
        tracing::warn!(%error, "memory is not given back");
    }
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("nothing installed a provider before");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    match runtime.block_on(run(role)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "guildhall: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(role: Role) -> anyhow::Result<()> {
    match role {
        Role::Up(node) => up::run(node.read()?).await,
        Role::Gateway(node) => roles::gateway(node.read()?).await,
        Role::Guilds(node) => roles::guilds(node.read()?).await,
        Role::Voice(node) => roles::voice(node.read()?).await,
        Role::ClusterKey { file } => roles::make_key(&file),
        Role::Talk(talk) => talk.run().await,
        Role::Load(load) => load.run().await,
        Role::Ctl(ctl) => ctl.run().await,
        Role::Compare(compare) => compare.run(),
        Role::Sfu { .. } => unreachable!("handled before the runtime was started"),
    }
}

fn serves(role: &Role) -> bool {
    matches!(role, Role::Up(_) | Role::Gateway(_) | Role::Guilds(_) | Role::Voice(_))
}

/// The server says what it does; client commands only what went wrong. `RUST_LOG` overrides both.
fn start_logs(format: LogFormat, role: &Role) {
    let level = if serves(role) { "info" } else { "warn" };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| level.into());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would panic where the log cannot be written, such as on a full disk.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
