//! The long runs that are no part of the tests: a storm over a cluster, and take-over times. `cargo xtask chaos` builds
//! what is needed and starts this.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use integration::Broker;
use integration::chaos::{PROMISE, Run, Size, calm, chaos, measure};

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Faults at random, then a comparison with a calm run.
    Storm(StormArguments),
    /// Kills the master that does everything, and measures until another one does.
    Takeover(TakeoverArguments),
}

#[derive(Debug, clap::Args)]
struct StormArguments {
    /// How long faults go on, for each broker.
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// Repeats the choice of faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many changes are published meanwhile.
    #[arg(long, default_value_t = 1000)]
    changes: usize,
    /// The brokers, one run after the other.
    #[arg(long, value_delimiter = ',', default_value = "memory,redis,rabbit-mq")]
    brokers: Vec<BrokerName>,
    /// Where the report goes, as Markdown; otherwise it is printed.
    #[arg(long)]
    report: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct TakeoverArguments {
    /// How often, for each clock.
    #[arg(long, default_value_t = 20)]
    kills: usize,
    /// By how much the clock of one replica is wrong: `right`, or in the words of `faketime`, for example `+5m`; each is a
    /// run.
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true, default_value = "right")]
    skew: Vec<String>,
    /// The broker.
    #[arg(long, default_value = "redis")]
    broker: BrokerName,
    /// Where the report goes, as Markdown; otherwise it is printed.
    #[arg(long)]
    report: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BrokerName {
    Memory,
    Redis,
    RabbitMq,
}

impl From<BrokerName> for Broker {
    fn from(name: BrokerName) -> Self {
        match name {
            BrokerName::Memory => Self::Memory,
            BrokerName::Redis => Self::Redis,
            BrokerName::RabbitMq => Self::RabbitMq,
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().command {
        What::Storm(arguments) => storm(&arguments).await,
        What::Takeover(arguments) => takeover(&arguments).await,
    }
}

async fn storm(arguments: &StormArguments) -> Result<()> {
    let size =
        |broker| Size { masters: 3, workers: 8, changes: arguments.changes, broker, expire: Duration::from_secs(4) };
    let calm = calm(size(Broker::Memory)).await?;
    let duration = Duration::from_secs_f64(arguments.minutes * 60.0);
    let mut text = String::new();
    for broker in &arguments.brokers {
        let broker = Broker::from(*broker);
        let report = chaos(Run { seed: arguments.seed, duration, size: size(broker) }, &calm).await?;
        text.push_str(&format!("## {broker:?}\n\n{}\n", report.summary()));
    }
    put(arguments.report.as_deref(), &text)
}

async fn takeover(arguments: &TakeoverArguments) -> Result<()> {
    let mut text = String::new();
    let mut worst = Duration::ZERO;
    for skew in &arguments.skew {
        let skew = Some(skew.as_str()).filter(|skew| *skew != "right");
        let times = measure(arguments.kills, arguments.broker.into(), skew).await?;
        eprintln!("{times}");
        text.push_str(&format!("{times}\n"));
        worst = worst.max(times.worst());
    }
    put(arguments.report.as_deref(), &text)?;
    ensure!(worst <= PROMISE, "a take-over lasted {worst:.1?}, more than {PROMISE:?}");
    Ok(())
}

fn put(file: Option<&std::path::Path>, text: &str) -> Result<()> {
    match file {
        Some(path) => std::fs::write(path, text)?,
        None => println!("{text}"),
    }
    Ok(())
}
