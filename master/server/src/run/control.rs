//! Control calls on their way from the web server to the engine, which do not know each other.

use std::sync::Arc;

use async_trait::async_trait;
use buildguild_db::Owner;
use buildguild_engine::control::Control;
use buildguild_types::control::{ControlCall, ControlError};
use buildguild_web::ControlCalls;
use serde_json::Value;
use tokio::sync::watch;

struct Calls {
    control: Control,
    /// Nothing while this master may not write to the database.
    owner: watch::Receiver<Option<Owner>>,
}

#[async_trait]
impl ControlCalls for Calls {
    async fn call(&self, call: ControlCall) -> Result<Value, ControlError> {
        self.control.call(call).await
    }

    fn is_in_service(&self) -> bool {
        self.owner.borrow().is_some() && self.control.is_in_force() && !self.control.is_leaving()
    }
}

/// The engine's control, as the web server calls it.
pub(super) fn calls(control: Control, owner: watch::Receiver<Option<Owner>>) -> Arc<dyn ControlCalls> {
    Arc::new(Calls { control, owner })
}
