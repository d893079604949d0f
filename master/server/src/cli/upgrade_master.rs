//! `buildguild upgrade-master`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use buildguild_db::SchemaState;
use clap::Args;

use super::Directory;
use crate::basedir::Basedir;
use crate::run;

/// `buildguild upgrade-master`
#[derive(Debug, Args)]
pub(crate) struct UpgradeMaster {
    #[command(flatten)]
    directory: Directory,
    /// Say nothing when all is well.
    #[arg(short, long)]
    quiet: bool,
}

impl UpgradeMaster {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let basedir = Basedir::open(&self.directory.basedir)?;
        let settings = run::load_settings(&basedir)?;
        run::runtime()?.block_on(async {
            let db = run::connect_database_of(&basedir, &settings).await?;
            let before = db.schema_state().await?;
            db.upgrade().await.context("cannot migrate the database")?;
            db.close().await;
            if !self.quiet {
                match before {
                    SchemaState::Current => println!("The database is up to date."),
                    _ => println!("The database was brought up to date."),
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}
