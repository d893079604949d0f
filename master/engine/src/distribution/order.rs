//! Which builder may take workers first.

use std::{cmp::Reverse, time::Duration};

use buildguild_config::CallError;
use buildguild_types::{ids::BuildRequestId, render::CallableRef, resources::BuildRequest, time::Timestamp};
use serde_json::Value;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::question::PATIENCE;
use crate::functions::Functions;

/// How urgent a builder is: by the priority, then the age of the first request of its queue.
pub(super) type Urgency = (Reverse<i64>, Timestamp, BuildRequestId);

/// The urgency of a builder whose first request is this one.
pub(super) fn urgency(first: &BuildRequest) -> Urgency {
    (Reverse(first.priority), first.submitted_at, first.buildrequestid)
}

/// Asks `prioritizeBuilders`. A question that takes longer than a moment goes on without anybody waiting: its answer
/// would be about builders of an earlier time.
#[derive(Debug, Default)]
pub(super) struct Order {
    asked: Option<JoinHandle<(Result<Value, CallError>, Duration)>>,
}

/// What became of asking.
#[derive(Debug)]
pub(super) enum Ordered {
    /// It answered, after that time.
    Answer(Result<Value, CallError>, Duration),
    /// It has not answered yet.
    Late,
}

impl Order {
    /// Asks about these builders.
    pub(super) async fn ask(&mut self, functions: &Functions, function: &CallableRef, views: &[Value]) -> Ordered {
        if self.asked.as_ref().is_some_and(|asked| !asked.is_finished()) {
            return Ordered::Late;
        }
        if let Some(earlier) = self.asked.take()
            && let Ok((Err(error), took)) = earlier.await
        {
            // It failed after all; that is told before it is asked again.
            return Ordered::Answer(Err(error), took);
        }
        let (functions, function) = (functions.clone(), function.clone());
        let args = vec![Value::Null, Value::Array(views.to_vec())];
        let begun = Instant::now();
        let mut asked = tokio::spawn(async move { (functions.call(&function, args).await, begun.elapsed()) });
        match timeout(PATIENCE, &mut asked).await {
            Ok(Ok((answer, took))) => Ordered::Answer(answer, took),
            Ok(Err(_)) => Ordered::Late,
            Err(_) => {
                self.asked = Some(asked);
                Ordered::Late
            }
        }
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        if let Some(asked) = &self.asked {
            asked.abort();
        }
    }
}
