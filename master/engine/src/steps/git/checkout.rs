//! The modes and methods: what is kept, what is removed, what is fetched.

use buildguild_types::farm::GitMode;

use super::commands::Git;
use super::{Attempt, Failed};
use crate::steps::StepError;

/// Left by a patch, so that the next build knows.
pub(super) const PATCHED_MARK: &str = ".buildbot-patched";

/// Continues with what git did, or gives its failure back.
macro_rules! must {
    ($attempt:expr) => {
        match $attempt {
            Ok(value) => value,
            Err(failed) => return Ok(Err(failed)),
        }
    };
}
pub(super) use must;

impl Git<'_, '_> {
    /// One try.
    pub(super) async fn checkout(&mut self, mode: GitMode) -> Attempt {
        self.workdir.clone_from(&self.target);
        match mode {
            GitMode::Clobber => {
                must!(self.remove(self.workdir.clone()).await?);
                self.clone_repository().await
            }
            GitMode::Fresh | GitMode::Clean | GitMode::Incremental => {
                let patched = self.exists(PATCHED_MARK).await?;
                if !self.is_checkout().await? {
                    return self.clone_from_nothing().await;
                }
                match mode {
                    GitMode::Fresh => must!(self.clean(true).await?),
                    GitMode::Clean => must!(self.clean(false).await?),
                    // What a patch added must not stay.
                    _ if patched => must!(self.clean(true).await?),
                    _ => {}
                }
                must!(self.update().await?);
                self.update_submodules(mode).await
            }
            GitMode::Copy => {
                must!(self.remove(self.target.clone()).await?);
                self.workdir = self.step.worker_path("source");
                if self.is_checkout().await? {
                    must!(self.update().await?);
                    must!(self.update_submodules(mode).await?);
                } else {
                    must!(self.clone_from_nothing().await?);
                }
                let source = std::mem::replace(&mut self.workdir, self.target.clone());
                self.copy(source, self.target.clone()).await
            }
        }
    }

    async fn is_checkout(&mut self) -> Result<bool, StepError> {
        Ok(self.list().await?.is_some_and(|names| names.iter().any(|name| name == ".git")))
    }

    /// Clones where there is no checkout, but perhaps something else.
    async fn clone_from_nothing(&mut self) -> Attempt {
        if self.list().await?.is_some_and(|names| !names.is_empty()) {
            must!(self.remove(self.workdir.clone()).await?);
        }
        self.clone_repository().await
    }

    async fn clone_repository(&mut self) -> Attempt {
        // A ref that is no branch (a pull request) cannot be cloned, only fetched.
        if self.branch.starts_with("refs/") {
            must!(self.git(&["init"]).await?);
            must!(self.fetch().await?);
            must!(self.check_out_fetched().await?);
            return self.update_submodules(GitMode::Clobber).await;
        }
        let depth = self.depth.map(|depth| depth.to_string());
        let (branch, origin, reference, filters, url) = (
            self.branch.clone(),
            self.origin.clone(),
            self.reference.clone(),
            self.filters.clone(),
            self.repourl.clone(),
        );
        let mut args = vec!["clone"];
        if branch != "HEAD" {
            args.extend(["--branch", &branch]);
        }
        if let Some(depth) = &depth {
            args.extend(["--depth", depth]);
        }
        if !self.config.tags && depth.is_some() {
            args.push("--no-tags");
        }
        for filter in &filters {
            args.extend(["--filter", filter]);
        }
        if let Some(reference) = &reference {
            args.extend(["--reference", reference]);
        }
        if let Some(origin) = &origin {
            args.extend(["--origin", origin]);
        }
        args.extend([url.as_str(), "."]);
        if self.config.progress {
            args.push("--progress");
        }
        must!(self.git(&args).await?);
        if let Some(revision) = self.revision.clone() {
            if self.has_revision(&revision).await? {
                must!(self.git(&["checkout", "-f", &revision]).await?);
            } else {
                // A shallow clone, or a commit that was pushed over since.
                must!(self.fetch_revision(&revision).await?);
            }
        }
        self.update_submodules(GitMode::Clobber).await
    }

    /// Brings a checkout to the wanted revision.
    async fn update(&mut self) -> Attempt {
        if let Some(revision) = self.revision.clone() {
            if self.has_revision(&revision).await? {
                must!(self.git(&["checkout", "-f", &revision]).await?);
                return self.name_branch().await;
            }
            let fetched = self.fetch().await?;
            if fetched.is_ok() && self.has_revision(&revision).await? {
                must!(self.git(&["checkout", "-f", &revision]).await?);
            } else {
                must!(self.fetch_revision(&revision).await?);
            }
            return self.name_branch().await;
        }
        must!(self.fetch().await?);
        must!(self.check_out_fetched().await?);
        self.name_branch().await
    }

    async fn check_out_fetched(&mut self) -> Attempt {
        match self.revision.clone() {
            Some(revision) if self.has_revision(&revision).await? => self.git(&["checkout", "-f", &revision]).await,
            Some(revision) => self.fetch_revision(&revision).await,
            None => self.git(&["checkout", "-f", "FETCH_HEAD"]).await,
        }
    }

    /// The checkout gets the branch's name, for steps that ask git for it.
    async fn name_branch(&mut self) -> Attempt {
        if self.branch == "HEAD" || self.branch.starts_with("refs/") {
            return Ok(Ok(()));
        }
        let branch = self.branch.clone();
        self.git(&["checkout", "-B", &branch]).await
    }

    async fn has_revision(&mut self, revision: &str) -> Result<bool, StepError> {
        Ok(self.git(&["cat-file", "-e", revision]).await?.is_ok())
    }

    async fn fetch(&mut self) -> Attempt {
        let branch = self.branch.clone();
        let first = self.fetch_ref(&branch).await?;
        if first.is_err() && self.config.retry_fetch {
            return self.fetch_ref(&branch).await;
        }
        Ok(first)
    }

    /// Servers give a commit by its hash when they are allowed to; otherwise the whole history is fetched.
    async fn fetch_revision(&mut self, revision: &str) -> Attempt {
        if self.fetch_ref(revision).await?.is_ok() {
            return self.git(&["checkout", "-f", "FETCH_HEAD"]).await;
        }
        if self.depth.take().is_some() {
            let url = self.repourl.clone();
            must!(self.git(&["fetch", "-f", "--unshallow", &url]).await?);
            return self.git(&["checkout", "-f", revision]).await;
        }
        Ok(Err(Failed))
    }

    async fn fetch_ref(&mut self, what: &str) -> Attempt {
        let depth = self.depth.map(|depth| depth.to_string());
        let (filters, url) = (self.filters.clone(), self.repourl.clone());
        let mut args = vec!["fetch", "-f"];
        if self.config.tags {
            args.push("--tags");
        }
        if let Some(depth) = &depth {
            args.extend(["--depth", depth]);
        }
        for filter in &filters {
            args.extend(["--filter", filter]);
        }
        if self.config.progress {
            args.push("--progress");
        }
        args.extend([url.as_str(), what]);
        self.git(&args).await
    }

    async fn clean(&mut self, ignored_too: bool) -> Attempt {
        let mut args = vec!["clean", "-f", "-f", "-d"];
        if ignored_too {
            args.push("-x");
        }
        must!(self.git(&args).await?);
        if self.config.submodules {
            let mut foreach = vec!["submodule", "foreach", "--recursive", "git"];
            foreach.extend(&args);
            must!(self.git(&foreach).await?);
        }
        Ok(Ok(()))
    }

    async fn update_submodules(&mut self, mode: GitMode) -> Attempt {
        if !self.config.submodules {
            return Ok(Ok(()));
        }
        must!(self.git(&["submodule", "sync"]).await?);
        let mut args = vec!["submodule", "update", "--init", "--recursive", "--force"];
        if self.config.remote_submodules {
            args.push("--remote");
        }
        must!(self.git(&args).await?);
        // What the update of the submodules left behind.
        match mode {
            GitMode::Fresh => self.clean(true).await,
            GitMode::Clean => self.clean(false).await,
            GitMode::Clobber | GitMode::Copy | GitMode::Incremental => Ok(Ok(())),
        }
    }
}
