//! Control calls on their way from the web server to the engine, which do not know each other.

use std::sync::Arc;

use async_trait::async_trait;
use buildguild_engine::control::Control;
use buildguild_types::control::{ControlCall, ControlError};
use buildguild_web::ControlCalls;
use serde_json::Value;

struct Calls(Control);

#[async_trait]
impl ControlCalls for Calls {
    async fn call(&self, call: ControlCall) -> Result<Value, ControlError> {
        self.0.call(call).await
    }

    fn is_in_service(&self) -> bool {
        self.0.is_in_force() && !self.0.is_leaving()
    }
}

/// The engine's control, as the web server calls it.
pub(super) fn calls(control: Control) -> Arc<dyn ControlCalls> {
    Arc::new(Calls(control))
}
