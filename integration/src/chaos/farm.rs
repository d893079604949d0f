//! The farms of the long runs: whatever is published is built on some builders.

use crate::farm::Farm;

/// Lets each change of the project be built on these builders of the farm, by a scheduler named `each`.
pub(super) fn following(farm: Farm, project: &str, builders: &[&str]) -> String {
    farm.extra(&format!(
        "c['change_source'].append(changes.GitPoller(\n\
         \x20   repourl={project:?}, branches=['main'], pollInterval=1, pollAtLaunch=True))\n\
         c['schedulers'].append(schedulers.SingleBranchScheduler(\n\
         \x20   name='each', branch='main', treeStableTimer=None, builderNames={builders:?}))"
    ))
    .text()
}
