//! Steps.

use std::collections::BTreeMap;

use buildguild_types::farm::{
    Condition, GitConfig, GitMode, SetPropertyFromCommandConfig, ShellConfig, StepConfig, StepFlags, StepKind,
    SummaryPolicy,
};
use buildguild_types::render::Renderable;
use buildguild_types::results::Results;
use serde_json::Value;

use super::{Lower, describe};
use crate::lang::{Node, ObjectNode};

/// True if a command has nothing in it.
fn is_empty(command: &Value) -> bool {
    command.as_str().is_some_and(str::is_empty) || command.as_array().is_some_and(Vec::is_empty)
}

impl Lower<'_> {
    pub(super) fn step(&self, o: &ObjectNode) -> Option<StepConfig> {
        let action = self.action(o)?;
        if let Some(Node::Str(name)) = o.arg("name")
            && name.chars().count() > 50
        {
            let message = format!("step name `{name}` has more than 50 characters");
            self.report.string(o, "name", name, message, None);
        }
        let mut class = o.class.name;
        if class == "Configure" {
            class = "ShellCommand";
        }
        Some(StepConfig {
            class: class.to_owned(),
            name: self.required_renderable(o, "name"),
            flags: StepFlags {
                halt_on_failure: self.bool(o, "haltOnFailure"),
                flunk_on_warnings: self.bool(o, "flunkOnWarnings"),
                flunk_on_failure: self.bool(o, "flunkOnFailure"),
                warn_on_warnings: self.bool(o, "warnOnWarnings"),
                warn_on_failure: self.bool(o, "warnOnFailure"),
                always_run: self.bool(o, "alwaysRun"),
            },
            description: self.opt_renderable(o, "description"),
            description_done: self.opt_renderable(o, "descriptionDone"),
            description_suffix: self.opt_renderable(o, "descriptionSuffix"),
            do_step_if: self.condition(o, "doStepIf"),
            hide_step_if: self.condition(o, "hideStepIf"),
            log_encoding: self.or_callable(o, "logEncoding"),
            summary_policy: self.summary_policy(o),
            locks: self.locks(o),
            workdir: if o.class.param("workdir").is_some() { self.opt_renderable(o, "workdir") } else { None },
            action,
        })
    }

    fn action(&self, o: &ObjectNode) -> Option<StepKind> {
        Some(match o.class.name {
            "ShellCommand" => StepKind::Shell(Box::new(self.shell(o)?)),
            "Configure" => {
                let mut shell = self.shell_options(o);
                shell.command = match o.arg("command") {
                    Some(_) => self.required_renderable(o, "command"),
                    None => Renderable::literal(vec!["./configure"]),
                };
                StepKind::Shell(Box::new(shell))
            }
            "SetProperty" => StepKind::SetProperty {
                property: self.required_renderable(o, "property"),
                value: self.required_renderable(o, "value"),
            },
            "SetProperties" => StepKind::SetProperties { properties: self.required_renderable(o, "properties") },
            "SetPropertyFromCommand" => {
                let property = self.opt_renderable(o, "property");
                let extract_fn = self.callable(o, "extract_fn");
                if property.is_none() == extract_fn.is_none() {
                    self.report.argument(
                        o,
                        "property",
                        "SetPropertyFromCommand needs exactly one of `property` and `extract_fn`",
                        None,
                    );
                }
                StepKind::SetPropertyFromCommand(Box::new(SetPropertyFromCommandConfig {
                    shell: self.shell(o)?,
                    property,
                    extract_fn,
                    strip: self.bool(o, "strip"),
                    include_stdout: self.bool(o, "includeStdout"),
                    include_stderr: self.bool(o, "includeStderr"),
                }))
            }
            "Git" => StepKind::Git(Box::new(self.git(o)?)),
            "Function" => {
                let run = self.callable(o, "run")?;
                StepKind::Function { run, args: self.renderable_map(o, "args") }
            }
            _ => return None,
        })
    }

    fn shell(&self, o: &ObjectNode) -> Option<ShellConfig> {
        let mut shell = self.shell_options(o);
        shell.command = self.opt_renderable(o, "command")?;
        if shell.command.as_literal().is_some_and(is_empty) {
            self.report.argument(o, "command", format!("{}: argument `command` is empty", o.class.name), None);
        }
        Some(shell)
    }

    fn shell_options(&self, o: &ObjectNode) -> ShellConfig {
        let interrupt_signal = self.str(o, "interruptSignal");
        if !["KILL", "TERM", "INT", "HUP", "QUIT", "USR1", "USR2"].contains(&interrupt_signal.as_str()) {
            let message = format!("`{interrupt_signal}` is no signal that can be sent");
            let help = crate::diagnostic::suggest(&interrupt_signal, ["KILL", "TERM", "INT", "HUP", "QUIT"]);
            self.report.argument(o, "interruptSignal", message, help);
        }
        ShellConfig {
            command: Renderable::literal(Value::Null),
            env: self.opt_renderable(o, "env"),
            want_stdout: self.bool(o, "want_stdout"),
            want_stderr: self.bool(o, "want_stderr"),
            use_pty: self.bool(o, "usePTY"),
            logfiles: self.opt_renderable(o, "logfiles"),
            lazy_logfiles: self.bool(o, "lazylogfiles"),
            timeout_secs: self.opt_renderable(o, "timeout"),
            max_time_secs: self.opt_renderable(o, "maxTime"),
            max_lines: self.opt_renderable(o, "max_lines"),
            log_environ: self.bool(o, "logEnviron"),
            interrupt_signal,
            sigterm_time_secs: self.opt_renderable(o, "sigtermTime"),
            initial_stdin: self.opt_renderable(o, "initialStdin"),
            decode_rc: self.decode_rc(o),
        }
    }

    fn decode_rc(&self, o: &ObjectNode) -> BTreeMap<i64, Results> {
        let Some(Node::Dict(entries)) = o.arg("decodeRC") else {
            return BTreeMap::from([(0, Results::Success)]);
        };
        let mut out = BTreeMap::new();
        for (k, v) in entries {
            let result = match v {
                Node::Int(i) => Results::try_from(*i).ok(),
                _ => None,
            };
            match (k, result) {
                (Node::Int(rc), Some(result)) => {
                    out.insert(*rc, result);
                }
                _ => self.report.argument(
                    o,
                    "decodeRC",
                    format!("{}: argument `decodeRC` is a dict from exit codes to results", o.class.name),
                    Some("for example {0: SUCCESS, 3: WARNINGS}".to_owned()),
                ),
            }
        }
        out
    }

    fn condition(&self, o: &ObjectNode, name: &str) -> Condition {
        match o.arg(name) {
            Some(Node::Call(c)) => Condition::Callable(c.clone()),
            Some(Node::Object(_)) => Condition::Renderable(self.required_renderable(o, name)),
            _ => Condition::Constant(self.bool(o, name)),
        }
    }

    fn summary_policy(&self, o: &ObjectNode) -> SummaryPolicy {
        match o.arg("updateBuildSummaryPolicy") {
            Some(Node::Bool(true)) => SummaryPolicy::Always,
            Some(Node::Bool(false)) => SummaryPolicy::Never,
            Some(Node::List(items)) => SummaryPolicy::On(
                items
                    .iter()
                    .filter_map(|i| {
                        let result = match i {
                            Node::Int(code) => Results::try_from(*code).ok(),
                            _ => None,
                        };
                        if result.is_none() {
                            self.report.argument(
                                o,
                                "updateBuildSummaryPolicy",
                                format!("`updateBuildSummaryPolicy` takes results, not {}", describe(i)),
                                None,
                            );
                        }
                        result
                    })
                    .collect(),
            ),
            _ => SummaryPolicy::ByFlags,
        }
    }

    fn git(&self, o: &ObjectNode) -> Option<GitConfig> {
        self.unavailable(o, &["sshPrivateKey", "sshHostKey", "sshKnownHosts", "auth_credentials", "git_credentials"]);
        let shallow_depth = match o.arg("shallow") {
            Some(Node::Bool(true)) => Some(Renderable::literal(1)),
            Some(Node::Bool(false)) | None => None,
            Some(_) => self.opt_renderable(o, "shallow"),
        };
        let method = self.opt_str(o, "method");
        if shallow_depth.is_some() && self.str(o, "mode") == "full" && method.as_deref().is_some_and(|m| m != "clobber")
        {
            self.report.argument(
                o,
                "shallow",
                "Git: in mode 'full' shallow is only possible with method 'clobber'",
                None,
            );
        }
        let get_description = match o.arg("getDescription") {
            Some(Node::Bool(true)) => Some(BTreeMap::new()),
            Some(Node::Dict(_)) => Some(self.properties(o, "getDescription")),
            _ => None,
        };
        Some(GitConfig {
            repourl: self.opt_renderable(o, "repourl")?,
            branch: self.required_renderable(o, "branch"),
            mode: self.git_mode(o),
            codebase: self.str(o, "codebase"),
            reference: self.opt_renderable(o, "reference"),
            origin: self.opt_renderable(o, "origin"),
            submodules: self.bool(o, "submodules"),
            remote_submodules: self.bool(o, "remoteSubmodules"),
            tags: self.bool(o, "tags"),
            shallow_depth,
            filters: match o.arg("filters") {
                Some(Node::List(items)) => items.iter().map(|i| self.renderable(i, o, "filters")).collect(),
                _ => Vec::new(),
            },
            progress: self.bool(o, "progress"),
            retry_fetch: self.bool(o, "retryFetch"),
            clobber_on_failure: self.bool(o, "clobberOnFailure"),
            get_description,
            config: self.opt_renderable(o, "config"),
            always_use_latest: self.bool(o, "alwaysUseLatest"),
            retry: self.retry(o),
            timeout_secs: self.seconds(o, "timeout"),
            env: self.opt_renderable(o, "env"),
            log_environ: self.bool(o, "logEnviron"),
        })
    }

    fn git_mode(&self, o: &ObjectNode) -> GitMode {
        let mode = self.str(o, "mode");
        let method = self.opt_str(o, "method");
        match (mode.as_str(), method.as_deref()) {
            ("incremental", None) => GitMode::Incremental,
            ("incremental", Some(_)) => {
                let message = "Git: argument `method` has no effect without mode='full'";
                self.report.argument_warning(o, "method", message, None);
                GitMode::Incremental
            }
            ("full", None | Some("fresh")) => GitMode::Fresh,
            ("full", Some("clobber")) => GitMode::Clobber,
            ("full", Some("clean")) => GitMode::Clean,
            ("full", Some("copy")) => GitMode::Copy,
            ("full", Some(other)) => {
                let help = crate::diagnostic::suggest(other, ["clobber", "fresh", "clean", "copy"])
                    .or_else(|| Some("use 'clobber', 'fresh', 'clean' or 'copy'".to_owned()));
                self.report.argument(o, "method", format!("Git: `{other}` is no method"), help);
                GitMode::Fresh
            }
            (other, _) => {
                let help = crate::diagnostic::suggest(other, ["incremental", "full"])
                    .or_else(|| Some("use 'incremental' or 'full'".to_owned()));
                self.report.argument(o, "mode", format!("Git: `{other}` is no mode"), help);
                GitMode::Incremental
            }
        }
    }

    fn retry(&self, o: &ObjectNode) -> Option<(u64, u32)> {
        match o.arg("retry") {
            None => None,
            Some(Node::List(items)) => match items.as_slice() {
                [Node::Int(delay), Node::Int(repeats)] if *delay >= 0 && *repeats >= 0 => {
                    Some((u64::try_from(*delay).ok()?, u32::try_from(*repeats).ok()?))
                }
                _ => {
                    let message = "Git: argument `retry` is (seconds, repeats)";
                    self.report.argument(o, "retry", message, None);
                    None
                }
            },
            Some(_) => None,
        }
    }
}
