//! Result codes of steps, builds and buildsets, with Buildbot's numbers and order of severity.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The result of a step, a build, a build request or a buildset.
///
/// The numbers are part of the database and of the API and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum Results {
    /// All went well.
    Success = 0,
    /// It worked, with warnings.
    Warnings = 1,
    /// It failed.
    Failure = 2,
    /// It was not run.
    Skipped = 3,
    /// Something around it failed: the master, the configuration, an evaluator.
    Exception = 4,
    /// It is done again, for example because the worker was lost.
    Retry = 5,
    /// Somebody stopped it.
    Cancelled = 6,
}

/// A number that is no result code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a result code (0 to 6)")]
pub struct UnknownResult(pub i64);

impl Results {
    /// All codes, in numeric order.
    pub const ALL: [Self; 7] =
        [Self::Success, Self::Warnings, Self::Failure, Self::Skipped, Self::Exception, Self::Retry, Self::Cancelled];

    /// The number in the database and in the API.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The lower-case name, as Buildbot's `statusToString` gives it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Warnings => "warnings",
            Self::Failure => "failure",
            Self::Skipped => "skipped",
            Self::Exception => "exception",
            Self::Retry => "retry",
            Self::Cancelled => "cancelled",
        }
    }

    /// How bad this is: `CANCELLED > RETRY > EXCEPTION > FAILURE > WARNINGS > SUCCESS > SKIPPED`.
    const fn severity(self) -> u8 {
        match self {
            Self::Skipped => 0,
            Self::Success => 1,
            Self::Warnings => 2,
            Self::Failure => 3,
            Self::Exception => 4,
            Self::Retry => 5,
            Self::Cancelled => 6,
        }
    }

    /// The worse of two results (`worst_status` of Buildbot).
    #[must_use]
    pub const fn worst(self, other: Self) -> Self {
        if self.severity() >= other.severity() { self } else { other }
    }

    /// Whether a build whose step ended so goes no further, whatever the step's flags say.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Exception | Self::Retry | Self::Cancelled)
    }

    /// Whether a scheduler that waits for success takes this for one.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Success | Self::Warnings)
    }
}

impl TryFrom<i64> for Results {
    type Error = UnknownResult;

    fn try_from(code: i64) -> Result<Self, UnknownResult> {
        usize::try_from(code).ok().and_then(|index| Self::ALL.get(index).copied()).ok_or(UnknownResult(code))
    }
}

impl std::fmt::Display for Results {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Results {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i16(self.code())
    }
}

impl<'de> Deserialize<'de> for Results {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        i64::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_round_trip() {
        for result in Results::ALL {
            assert_eq!(Results::try_from(i64::from(result.code())), Ok(result));
        }
        assert_eq!(Results::try_from(7), Err(UnknownResult(7)));
        assert_eq!(Results::try_from(-1), Err(UnknownResult(-1)));
    }

    #[test]
    fn the_worst_result_wins() {
        use Results::{Cancelled, Exception, Failure, Retry, Skipped, Success, Warnings};
        let order = [Skipped, Success, Warnings, Failure, Exception, Retry, Cancelled];
        for (i, better) in order.iter().enumerate() {
            for worse in &order[i..] {
                assert_eq!(better.worst(*worse), *worse);
                assert_eq!(worse.worst(*better), *worse);
            }
        }
    }
}
