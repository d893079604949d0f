//! What happens to commands when the master goes away.

use worker_protocol::{Command, CommandUpdate};

use crate::support::{DEADLINE, Master, eventually, is_alive, pid_in};

#[tokio::test]
async fn commands_do_not_outlive_their_connection() {
    let mut master = Master::with_settings(|settings| settings.buffer_timeout_secs = 0.05).await;
    let (leader, child) = (master.base().join("leader"), master.base().join("child"));
    let line = format!("echo $$ > {}; sleep 600 & echo $! > {}; echo running; wait", leader.display(), child.display());
    master.start("c", &Command::Shell(master.line(&line))).await.result().await.unwrap();
    master.until(|update| matches!(update, CommandUpdate::Stdout(_))).await;
    let pids = [pid_in(&leader).await, pid_in(&child).await];
    let worker = master.drop_connection();
    // The worker ends its session only when all is over.
    tokio::time::timeout(DEADLINE, worker).await.unwrap().unwrap().unwrap();
    for pid in pids {
        eventually("the end of the command", || !is_alive(pid)).await;
    }
}

#[tokio::test]
async fn commands_end_with_the_worker() {
    let master = Master::new().await;
    let leader = master.base().join("leader");
    let line = format!("echo $$ > {}; sleep 600", leader.display());
    master.start("c", &Command::Shell(master.line(&line))).await.result().await.unwrap();
    let pid = pid_in(&leader).await;
    master.token.cancel();
    tokio::time::timeout(DEADLINE, master.worker).await.unwrap().unwrap().unwrap();
    assert!(!is_alive(pid));
}
