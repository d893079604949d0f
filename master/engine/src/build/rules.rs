//! How the result of a step counts for its build.

use buildguild_types::farm::{StepFlags, SummaryPolicy};
use buildguild_types::results::Results;

/// What a step's end means for its build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The build's result so far.
    pub(crate) results: Results,
    /// Whether only steps with `alwaysRun` still run.
    pub(crate) halt: bool,
}

/// Combines the build's result so far with that of a step, by the step's flags.
pub(crate) fn judge(so_far: Results, step: Results, flags: StepFlags) -> Verdict {
    let counts_as = match step {
        Results::Failure if flags.flunk_on_failure => Results::Failure,
        Results::Failure if flags.warn_on_failure => Results::Warnings,
        Results::Warnings if flags.flunk_on_warnings => Results::Failure,
        Results::Warnings if flags.warn_on_warnings => Results::Warnings,
        Results::Failure | Results::Warnings => Results::Success,
        other => other,
    };
    let halt = step.is_terminal() || (step == Results::Failure && flags.halt_on_failure);
    Verdict { results: so_far.worst(counts_as), halt }
}

/// Whether a step with this result says something in its build's summary.
pub(crate) fn is_in_summary(step: Results, flags: StepFlags, policy: &SummaryPolicy) -> bool {
    match policy {
        SummaryPolicy::Never => false,
        SummaryPolicy::Always => true,
        SummaryPolicy::On(results) => results.contains(&step),
        SummaryPolicy::ByFlags => match step {
            Results::Exception | Results::Retry | Results::Cancelled => true,
            Results::Failure => flags.halt_on_failure || flags.flunk_on_failure || flags.warn_on_failure,
            Results::Warnings => flags.warn_on_warnings || flags.flunk_on_warnings,
            Results::Success | Results::Skipped => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NO_FLAGS: StepFlags = StepFlags {
        halt_on_failure: false,
        flunk_on_warnings: false,
        flunk_on_failure: false,
        warn_on_warnings: false,
        warn_on_failure: false,
        always_run: false,
    };

    #[test]
    fn the_flags_decide_what_a_failure_means() {
        use Results::{Failure, Success, Warnings};
        let with = |change: fn(&mut StepFlags)| {
            let mut flags = NO_FLAGS;
            change(&mut flags);
            flags
        };
        for (step, flags, results, halt) in [
            (Failure, NO_FLAGS, Success, false),
            (Failure, StepFlags::default(), Failure, false),
            (Failure, with(|f| f.warn_on_failure = true), Warnings, false),
            (Failure, with(|f| f.halt_on_failure = true), Success, true),
            (Warnings, StepFlags::default(), Success, false),
            (Warnings, with(|f| f.warn_on_warnings = true), Warnings, false),
            (Warnings, with(|f| f.flunk_on_warnings = true), Failure, false),
        ] {
            assert_eq!(judge(Success, step, flags), Verdict { results, halt }, "{step} {flags:?}");
        }
    }

    #[test]
    fn nothing_comes_after_an_exception_a_retry_or_a_stop() {
        for step in [Results::Exception, Results::Retry, Results::Cancelled] {
            assert_eq!(judge(Results::Failure, step, NO_FLAGS), Verdict { results: step, halt: true });
        }
    }

    fn any_flags() -> impl Strategy<Value = StepFlags> {
        any::<[bool; 6]>().prop_map(|[a, b, c, d, e, f]| StepFlags {
            halt_on_failure: a,
            flunk_on_warnings: b,
            flunk_on_failure: c,
            warn_on_warnings: d,
            warn_on_failure: e,
            always_run: f,
        })
    }

    proptest! {
        #[test]
        fn a_build_never_gets_better(
            flags in any_flags(),
            so_far in proptest::sample::select(&Results::ALL[..]),
            step in proptest::sample::select(&Results::ALL[..]),
        ) {
            let verdict = judge(so_far, step, flags);
            prop_assert_eq!(verdict.results.worst(so_far), verdict.results);
            prop_assert!(!step.is_terminal() || verdict.halt);
        }
    }
}
