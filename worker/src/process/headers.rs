//! What the worker says before and after a program's output.

use worker_protocol::{LogFile, ShellCommand};

use super::ProcessSpec;
use crate::output::Reporter;
use crate::python;

/// The lines before the output.
pub(super) fn begin(spec: &ProcessSpec, use_pty: bool, reporter: &mut Reporter) {
    let mut first = String::new();
    if spec.use_pty && !use_pty {
        first.push_str("WARNING: disabling usePTY for this command");
    }
    first.push_str(&match &spec.command {
        ShellCommand::Line(line) => line.clone(),
        ShellCommand::Argv(argv) => argv.iter().map(|arg| python::shell_quote(arg)).collect::<Vec<_>>().join(" "),
    });
    reporter.header(&first);
    let mut place = format!(" in dir {}", spec.workdir.display());
    for (name, secs) in [("timeout", spec.timeout_secs), ("maxTime", spec.max_time_secs)] {
        if let Some(secs) = secs {
            let unit = if secs == 1.0 { "sec" } else { "secs" };
            place.push_str(&format!(" ({name} {} {unit})", python::number(secs)));
        }
    }
    reporter.header(&place);
    reporter.header(&format!(" watching logfiles {}", logfiles_repr(&spec.logfiles)));
    reporter.header(&format!(" argv: {}", command_repr(&spec.command)));
    if spec.log_environ {
        reporter.header(" environment:");
        for (name, value) in &spec.env {
            reporter.header(&format!("  {name}={value}"));
        }
    }
    if let Some(stdin) = &spec.initial_stdin {
        reporter.header(&format!(" writing {} bytes to stdin", stdin.len()));
    }
    reporter.header(&format!(" using PTY: {}", if use_pty { "True" } else { "False" }));
}

/// The command as Python shows its byte strings.
pub(super) fn command_repr(command: &ShellCommand) -> String {
    match command {
        ShellCommand::Line(line) => python::bytes_repr(line.as_bytes()),
        ShellCommand::Argv(argv) => {
            let items: Vec<String> = argv.iter().map(|arg| python::bytes_repr(arg.as_bytes())).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

fn logfiles_repr(files: &[LogFile]) -> String {
    let entries: Vec<String> = files
        .iter()
        .map(|file| {
            let name = python::str_repr(&file.name);
            let path = python::str_repr(&file.filename);
            if file.as_map {
                let follow = if file.follow { "True" } else { "False" };
                format!("{name}: {{'filename': {path}, 'follow': {follow}}}")
            } else {
                format!("{name}: {path}")
            }
        })
        .collect();
    format!("{{{}}}", entries.join(", "))
}
