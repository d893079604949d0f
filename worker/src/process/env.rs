//! The environment of a program.

use std::collections::BTreeMap;

use worker_protocol::EnvValue;

/// The worker's environment with a command's changes, and `PWD`.
pub(crate) fn child_environment(
    worker: &BTreeMap<String, String>,
    changes: &[(String, EnvValue)],
    workdir: &str,
) -> Vec<(String, String)> {
    let mut env = worker.clone();
    for (name, change) in changes {
        let value = match change {
            EnvValue::Unset => {
                env.remove(name);
                continue;
            }
            EnvValue::Text(text) => text.clone(),
            EnvValue::List(items) => items.join(":"),
        };
        let value = if name == "PYTHONPATH" { format!("{value}:${{PYTHONPATH}}") } else { value };
        env.insert(name.clone(), substitute(&value, worker));
    }
    env.insert("PWD".to_owned(), workdir.to_owned());
    // A name or value with a NUL, or a name with "=", cannot be passed on.
    env.retain(|name, value| !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0'));
    env.into_iter().collect()
}

/// Replaces `${NAME}` by the worker's value, or by nothing.
fn substitute(value: &str, worker: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(start) = rest.find("${") {
        let after = &rest[start + 2..];
        let len = after.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        if after.as_bytes().get(len) == Some(&b'}') {
            out.push_str(&rest[..start]);
            out.push_str(worker.get(&after[..len]).map_or("", String::as_str));
            rest = &after[len + 1..];
        } else {
            out.push_str(&rest[..start + 2]);
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_environment_comes_out() {
        let worker: BTreeMap<_, _> = [("HOME", "/home/ci"), ("LANG", "C.UTF-8"), ("PATH", "/bin")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        let text = |t: &str| EnvValue::Text(t.to_owned());
        let changes = vec![
            ("FOO".to_owned(), text("café")),
            ("LIST".to_owned(), EnvValue::List(vec!["a".to_owned(), "b".to_owned()])),
            ("PYTHONPATH".to_owned(), text("/pp")),
            ("HOME".to_owned(), EnvValue::Unset),
            ("SUB".to_owned(), text("x${LANG}y${NOPE}z$LANG${a-b}")),
        ];
        let env = child_environment(&worker, &changes, "/w");
        let shown: Vec<String> = env.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            shown,
            [
                "FOO=café",
                "LANG=C.UTF-8",
                "LIST=a:b",
                "PATH=/bin",
                "PWD=/w",
                "PYTHONPATH=/pp:",
                "SUB=xC.UTF-8yz$LANG${a-b}"
            ]
        );
    }
}
