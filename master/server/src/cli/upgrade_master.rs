//! `buildguild upgrade-master`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use buildguild_db::{SchemaState, masters};
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
            // As Buildbot does: what masters of the past said of themselves is of no use. One that runs says it again.
            db.write(|tx| async move { masters::set_all_active_long_ago(&tx).await })
                .await
                .context("cannot reset the masters")?;
            db.close().await;
            if !self.quiet {
                match before {
                    SchemaState::Current => println!("The database is up to date."),
                    SchemaState::NewerCompatible => {
                        println!("The database is of a newer version that this one can work with.");
                    }
                    SchemaState::Outdated | SchemaState::Newer => println!("The database was brought up to date."),
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}
