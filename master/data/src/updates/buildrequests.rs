//! Build requests: claims and completion.

use buildguild_db::DbError;
use buildguild_db::buildrequests::{self, Completed};
use buildguild_db::wishes::{self, WishKind};
use buildguild_types::ids::BuildRequestId;
use buildguild_types::resources::BuildRequest;
use buildguild_types::results::Results;

use crate::{Update, events};

impl Update {
    /// Claims all of the requests for this master, or none.
    ///
    /// # Errors
    /// [`DbError::AlreadyClaimed`] if any of them is taken or complete; [`DbError::EpochEnded`].
    pub async fn claim_build_requests(&self, requests: &[BuildRequestId]) -> Result<Vec<BuildRequest>, DbError> {
        let claimed = buildrequests::claim(self.tx(), requests, self.owner(), self.now()).await?;
        self.announce_requests(&claimed, "claimed")?;
        Ok(claimed)
    }

    /// Claims as many of the requests as are free, and returns those.
    ///
    /// # Errors
    /// [`DbError::EpochEnded`].
    pub async fn claim_free_build_requests(&self, requests: &[BuildRequestId]) -> Result<Vec<BuildRequest>, DbError> {
        let claimed = buildrequests::claim_some(self.tx(), requests, self.owner(), self.now()).await?;
        self.announce_requests(&claimed, "claimed")?;
        Ok(claimed)
    }

    /// Puts requests back into the queue. Those that this master has not claimed are left alone.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn unclaim_build_requests(&self, requests: &[BuildRequestId]) -> Result<Vec<BuildRequest>, DbError> {
        let freed = buildrequests::unclaim(self.tx(), requests, self.owner()).await?;
        self.announce_requests(&freed, "unclaimed")?;
        Ok(freed)
    }

    /// Completes requests that this master has claimed (all or none), and the buildsets that are complete with them.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`], [`DbError::AlreadyComplete`].
    pub async fn complete_build_requests(
        &self,
        requests: &[BuildRequestId],
        results: Results,
    ) -> Result<Completed, DbError> {
        let completed = buildrequests::complete(self.tx(), requests, results, self.owner(), self.now()).await?;
        self.announce_completed(&completed)?;
        self.settle_wishes(&completed).await?;
        Ok(completed)
    }

    /// Completes requests that nobody has claimed: cancelled ones (CANCELLED) or superseded ones (SKIPPED). Those that
    /// are claimed or complete are left alone; the result holds those that were completed.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn complete_queued_build_requests(
        &self,
        requests: &[BuildRequestId],
        results: Results,
    ) -> Result<Completed, DbError> {
        let completed = buildrequests::complete_queued(self.tx(), requests, results, self.owner(), self.now()).await?;
        self.announce_queued_completed(&completed).await?;
        Ok(completed)
    }

    /// Tells of requests that were completed out of the queue.
    pub(crate) async fn announce_queued_completed(&self, completed: &Completed) -> Result<(), DbError> {
        self.announce_completed(completed)?;
        self.settle_wishes(completed).await
    }

    pub(crate) fn announce_completed(&self, completed: &Completed) -> Result<(), DbError> {
        self.announce_requests(&completed.requests, "complete")?;
        for buildset in &completed.buildsets {
            self.emit(events::buildset(buildset, None, "complete")?);
        }
        Ok(())
    }

    /// Removes the wishes to cancel requests that are complete.
    async fn settle_wishes(&self, completed: &Completed) -> Result<(), DbError> {
        let ids: Vec<i64> = completed.requests.iter().map(|request| request.buildrequestid.get()).collect();
        wishes::remove_for(self.tx(), WishKind::CancelRequest, &ids).await?;
        Ok(())
    }

    fn announce_requests(&self, requests: &[BuildRequest], verb: &str) -> Result<(), DbError> {
        for request in requests {
            self.emit(events::buildrequest(request, verb)?);
        }
        Ok(())
    }
}
