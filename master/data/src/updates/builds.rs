//! Builds and their properties.

use buildguild_db::builds::{self, NewBuild};
use buildguild_db::{DbError, buildrequests, claims, plans, properties, wishes};
use buildguild_types::ids::{BuildId, BuildRequestId, BuilderId, WorkerId};
use buildguild_types::properties::Properties;
use buildguild_types::resources::Build;
use buildguild_types::results::Results;

use crate::{Update, events};

/// A build that is to be started.
#[derive(Clone, Debug)]
pub struct StartBuild<'a> {
    /// The builder.
    pub builder: BuilderId,
    /// The request it serves, which this master has claimed.
    pub request: BuildRequestId,
    /// The worker it runs on.
    pub worker: WorkerId,
    /// Its first state.
    pub state_string: &'a str,
}

impl Update {
    /// Locks the claim of a build, once in an update.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`].
    pub(crate) async fn lock_build(&self, build: BuildId) -> Result<Build, DbError> {
        if let Some(known) = self.known_build(build) {
            return Ok(known);
        }
        let locked = claims::lock_build(self.tx(), build, self.owner()).await?;
        self.remember_build(&locked);
        Ok(locked)
    }

    /// Adds a build with the builder's next number. It is not announced yet: its number is needed to render its
    /// properties and plan. See [`Update::announce_build`].
    ///
    /// # Errors
    /// [`DbError::ClaimLost`] if this master does not hold the request.
    pub async fn add_build(&self, start: &StartBuild<'_>) -> Result<Build, DbError> {
        self.add_build_numbered(start, None).await
    }

    /// As [`Update::add_build`], with a number that was reserved before ([`crate::Data::reserve_build_number`]), so
    /// that builds of one builder which start at the same time do not wait for each other.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`] if this master does not hold the request.
    pub async fn add_build_numbered(&self, start: &StartBuild<'_>, number: Option<i64>) -> Result<Build, DbError> {
        let new = NewBuild {
            builder: start.builder,
            request: start.request,
            worker: start.worker,
            state_string: start.state_string,
        };
        let build = match number {
            Some(number) => builds::add_numbered(self.tx(), &new, number, self.owner(), self.now()).await?,
            None => builds::add(self.tx(), &new, self.owner(), self.now()).await?,
        };
        self.remember_build(&build);
        Ok(build)
    }

    /// Stores a build's plan (JSON) with the configuration version that it refers to.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`].
    pub async fn set_build_plan(&self, build: BuildId, config_hash: &str, plan: &str) -> Result<(), DbError> {
        self.lock_build(build).await?;
        plans::add(self.tx(), build, config_hash, plan).await
    }

    /// Announces a build as new (`generateNewBuildEvent`).
    ///
    /// # Errors
    /// [`DbError::ClaimLost`].
    pub async fn announce_build(&self, build: BuildId) -> Result<(), DbError> {
        let build = self.lock_build(build).await?;
        self.emit(events::build(&build, "new")?);
        Ok(())
    }

    /// Stores the first properties of a build and announces it, in the order in which Buildbot tells of a beginning: what
    /// the build was given, that it is there, who is responsible, and what it did up to its present state. One
    /// transaction stores only the last of these states.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`].
    pub async fn announce_build_start(&self, build: BuildId, first: &Properties) -> Result<(), DbError> {
        let build = self.lock_build(build).await?;
        properties::set_for_build(self.tx(), build.buildid, first).await?;
        let only = |is_owners: bool| -> Properties {
            let wanted = first.iter().filter(|(name, _)| (*name == "owners") == is_owners);
            wanted.map(|(name, property)| (name.to_owned(), property.clone())).collect()
        };
        let (given, owners) = (only(false), only(true));
        self.emit(events::build_properties(build.buildid, &given)?);
        let starting = Build { state_string: "starting".to_owned(), ..build.clone() };
        self.emit(events::build(&starting, "update")?);
        self.emit(events::build(&starting, "new")?);
        if !owners.is_empty() {
            self.emit(events::build_properties(build.buildid, &owners)?);
        }
        let preparing = Build { state_string: "preparing worker".to_owned(), ..build.clone() };
        self.emit(events::build(&preparing, "update")?);
        self.emit(events::build(&build, "update")?);
        Ok(())
    }

    /// Sets what a build is doing. Nothing happens if it says so already.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`].
    pub async fn set_build_state_string(&self, build: BuildId, state: &str) -> Result<(), DbError> {
        let mut build = self.lock_build(build).await?;
        if build.state_string == state {
            return Ok(());
        }
        builds::set_state_string(self.tx(), build.buildid, state).await?;
        build.state_string = state.to_owned();
        self.remember_build(&build);
        self.emit(events::build(&build, "update")?);
        Ok(())
    }

    /// Sets properties of a build. The caller passes only those that changed.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`].
    pub async fn set_build_properties(&self, build: BuildId, changed: &Properties) -> Result<(), DbError> {
        if changed.is_empty() {
            return Ok(());
        }
        self.lock_build(build).await?;
        properties::set_for_build(self.tx(), build, changed).await?;
        self.emit(events::build_properties(build, changed)?);
        Ok(())
    }

    /// Adds to the time that a build has waited for locks.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`].
    pub async fn add_build_locks_duration(&self, build: BuildId, seconds: i64) -> Result<(), DbError> {
        let mut build = self.lock_build(build).await?;
        builds::add_locks_duration(self.tx(), build.buildid, seconds).await?;
        build.locks_duration_s += seconds;
        self.remember_build(&build);
        Ok(())
    }

    /// Ends a build, and with it its request: completed, and perhaps the buildset too; or, with RETRY, put back into
    /// the queue. Steps and logs must have ended. Wishes to stop it are fulfilled by this.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`].
    pub async fn finish_build(&self, build: BuildId, results: Results, state: Option<&str>) -> Result<Build, DbError> {
        let before = self.lock_build(build).await?;
        let build = builds::finish(self.tx(), build, results, state, self.now()).await?;
        self.forget_build(build.buildid);
        if state.is_some_and(|state| state != before.state_string) {
            let update = Build { complete: false, complete_at: None, results: None, ..build.clone() };
            self.emit(events::build(&update, "update")?);
        }
        self.emit(events::build(&build, "finished")?);
        wishes::remove_of_build(self.tx(), build.buildid, build.buildrequestid).await?;
        if results == Results::Retry {
            for request in buildrequests::unclaim(self.tx(), &[build.buildrequestid], self.owner()).await? {
                self.emit(events::buildrequest(&request, "unclaimed")?);
            }
        } else {
            let requests = &[build.buildrequestid];
            let completed = buildrequests::complete(self.tx(), requests, results, self.owner(), self.now()).await?;
            self.announce_completed(&completed)?;
        }
        Ok(build)
    }
}
