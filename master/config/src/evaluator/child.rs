//! The evaluator process: reads requests until its input ends.

use std::any::Any;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, setrlimit};

use super::protocol::{Answer, Request, read_message, write_message};
use crate::lang::{Limits, Program, evaluate};

/// How many config versions an evaluator keeps.
const MAX_PROGRAMS: usize = 8;
/// How often an evaluator looks whether its master still lives.
const LOOK_FOR_MASTER: std::time::Duration = std::time::Duration::from_secs(1);
/// Starlark recurses on the native stack; the depth of calls is limited well below this.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Why an evaluator stopped.
#[derive(Debug, thiserror::Error)]
pub enum EvaluatorError {
    /// The thread for the evaluation cannot be had.
    #[error("start the evaluator's thread")]
    Thread(#[source] std::io::Error),
    /// The stream to the master broke, or says nonsense.
    #[error("talk with the master")]
    Stream(#[source] std::io::Error),
    /// The master is gone.
    #[error("the master has ended")]
    Orphaned,
    /// The evaluation itself broke.
    #[error("the evaluator's thread panicked")]
    Panicked,
}

/// Serves a master over standard input and output until the input ends. This is all that
/// `buildguild evaluator` does.
///
/// # Errors
/// If the master's side breaks.
pub fn run_evaluator() -> Result<(), EvaluatorError> {
    run_evaluator_on(std::io::stdin(), std::io::stdout())
}

/// The same over other streams.
///
/// # Errors
/// If the master's side breaks.
pub fn run_evaluator_on(
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
) -> Result<(), EvaluatorError> {
    let waiting = std::thread::current();
    let thread = std::thread::Builder::new()
        .name("evaluator".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let served = serve(input, output);
            waiting.unpark();
            served
        })
        .map_err(EvaluatorError::Thread)?;
    // A function that never ends would otherwise outlive a master that was killed: nobody is left to end it.
    let master = nix::unistd::getppid();
    while !thread.is_finished() {
        if nix::unistd::getppid() != master {
            return Err(EvaluatorError::Orphaned);
        }
        std::thread::park_timeout(LOOK_FOR_MASTER);
    }
    match thread.join() {
        Ok(served) => served.map_err(EvaluatorError::Stream),
        // Some allocations panic instead of aborting; to the master it is the same.
        Err(payload) if is_out_of_memory(payload.as_ref()) => std::process::abort(),
        Err(_) => Err(EvaluatorError::Panicked),
    }
}

/// Whether a panic says that memory could not be had.
fn is_out_of_memory(payload: &(dyn Any + Send)) -> bool {
    let said = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text.as_str(),
        (None, None) => "",
    };
    ["out of memory", "alloc", "capacity overflow"].iter().any(|sign| said.contains(sign))
}

fn serve(mut input: impl Read, mut output: impl Write) -> std::io::Result<()> {
    let mut child = Child { programs: HashMap::new(), used: 0, heap_bytes: 256 * 1024 * 1024 };
    while let Some(request) = read_message::<Request>(&mut input)? {
        let answer = child.answer(request)?;
        write_message(&mut output, &answer)?;
    }
    Ok(())
}

struct Child {
    /// Programs with the time of their last use.
    programs: HashMap<String, (Program, u64)>,
    used: u64,
    heap_bytes: usize,
}

impl Child {
    fn answer(&mut self, request: Request) -> std::io::Result<Answer> {
        Ok(match request {
            Request::Limits { memory_bytes } => {
                // The address space is what the kernel can limit; an allocation beyond it aborts this process.
                setrlimit(Resource::RLIMIT_AS, memory_bytes, memory_bytes)?;
                // No dumps of a process that holds a farm's passwords.
                setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
                // Half of it, so that most functions that want too much still get an error with a line.
                self.heap_bytes = usize::try_from(memory_bytes / 2).unwrap_or(usize::MAX);
                Answer::Ready
            }
            Request::Load { hash, bundle, timeout_ms } => {
                let evaluated = evaluate(bundle, self.limits(timeout_ms));
                if !evaluated.missing.is_empty() {
                    return Ok(Answer::Missing(evaluated.missing));
                }
                let errors = evaluated.has_errors();
                if let Some(program) = evaluated.program.filter(|_| !errors) {
                    self.keep(hash, program);
                }
                Answer::Loaded { farm: Box::new(evaluated.farm), diagnostics: evaluated.diagnostics }
            }
            Request::Call { hash, path, args, timeout_ms } => {
                let limits = self.limits(timeout_ms);
                match self.program(&hash) {
                    None => Answer::Unknown,
                    Some(program) => match program.call(&path, &args, limits) {
                        Ok(value) => Answer::Returned(value),
                        Err(message) => Answer::Failed(message),
                    },
                }
            }
            Request::Advance { hash, path, ctx, journal, timeout_ms } => {
                let limits = self.limits(timeout_ms);
                match self.program(&hash) {
                    None => Answer::Unknown,
                    Some(program) => match program.advance(&path, &ctx, &journal, limits) {
                        Ok(advance) => Answer::Advanced(advance),
                        Err(message) => Answer::Failed(message),
                    },
                }
            }
        })
    }

    fn limits(&self, timeout_ms: u64) -> Limits {
        Limits { deadline: Instant::now() + Duration::from_millis(timeout_ms), heap_bytes: self.heap_bytes }
    }

    fn program(&mut self, hash: &str) -> Option<&Program> {
        self.used += 1;
        let (program, used) = self.programs.get_mut(hash)?;
        *used = self.used;
        Some(program)
    }

    fn keep(&mut self, hash: String, program: Program) {
        self.used += 1;
        self.programs.insert(hash, (program, self.used));
        while self.programs.len() > MAX_PROGRAMS {
            let oldest = self.programs.iter().min_by_key(|(_, (_, used))| *used).map(|(h, _)| h.clone());
            match oldest {
                Some(hash) => self.programs.remove(&hash),
                None => break,
            };
        }
    }
}
