//! The project's own rules, checked: the import table, the size of files, no sleeping in tests, a README in each crate.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use cargo_metadata::{DependencyKind, MetadataCommand};

use crate::command::{root, run_quietly};

/// A hand-written source file longer than this holds more than one thing.
const MAX_LINES: usize = 600;

/// Checks all rules; reports every violation at once.
pub(crate) fn check() -> Result<()> {
    let mut problems = Vec::new();
    import_table(&mut problems)?;
    source_files(&mut problems)?;
    named_tests(&mut problems)?;
    if problems.is_empty() {
        return Ok(());
    }
    bail!("{} rule(s) broken:\n  {}", problems.len(), problems.join("\n  "))
}

/// Compares the crates' dependencies on each other with the table in `docs/architecture.md`.
fn import_table(problems: &mut Vec<String>) -> Result<()> {
    let page = root().join("docs/architecture.md");
    let text = std::fs::read_to_string(&page).context("docs/architecture.md")?;
    let documented = parse_table(&text);
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec()?;
    let ours: BTreeSet<String> = metadata.packages.iter().map(|package| package.name.to_string()).collect();
    for package in &metadata.packages {
        let name = package.name.to_string();
        let actual: BTreeSet<String> = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind == DependencyKind::Normal && ours.contains(&dependency.name))
            .map(|dependency| dependency.name.clone())
            .collect();
        match documented.get(&name) {
            None => problems.push(format!("docs/architecture.md: the import table lacks a row for {name}")),
            Some(wanted) if *wanted != actual => problems.push(format!(
                "docs/architecture.md: {name} imports {}, the table says {}",
                list(&actual),
                list(wanted)
            )),
            Some(_) => {}
        }
    }
    for name in documented.keys().filter(|name| !ours.contains(*name)) {
        problems.push(format!("docs/architecture.md: the import table has a row for {name}, which does not exist"));
    }
    Ok(())
}

/// Every test that a page of the manual names as `file::test` has to exist: a promise without one is only words.
fn named_tests(problems: &mut Vec<String>) -> Result<()> {
    let page = "docs/cluster.md";
    let text = std::fs::read_to_string(root().join(page)).context(page)?;
    let files = run_quietly(std::process::Command::new("git").current_dir(root()).args(["ls-files", "*.rs"]))?;
    for name in test_names(&text) {
        let (place, test) = name.split_once("::").unwrap_or_default();
        let has_it = files.lines().filter(|file| is_place(file, place)).any(|file| {
            std::fs::read_to_string(root().join(file)).is_ok_and(|text| text.contains(&format!("fn {test}(")))
        });
        if !has_it {
            problems.push(format!("{page}: there is no test {name}"));
        }
    }
    Ok(())
}

/// Names such as `` `kills::a_paused_master_comes_back` `` in a page.
fn test_names(text: &str) -> impl Iterator<Item = &str> {
    let is_name = |name: &&str| {
        name.contains("::")
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | ':'))
    };
    text.split('`').skip(1).step_by(2).filter(is_name)
}

/// Whether a file is where tests of this name are: `place.rs`, or anything in a folder `place`.
fn is_place(file: &str, place: &str) -> bool {
    file.ends_with(&format!("/{place}.rs")) || file.contains(&format!("/{place}/"))
}

/// Rows such as ``| `crate` | `a`, `b` | ...`` below the heading "Import table".
fn parse_table(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let Some((_, section)) = text.split_once("## Import table") else { return BTreeMap::new() };
    let section = section.split("\n## ").next().unwrap_or_default();
    section
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|');
            let name = cells.next()?.trim().trim_matches('`').to_owned();
            let imports = cells.next()?.split(',').map(|cell| cell.trim().trim_matches('`').to_owned());
            Some((name, imports.filter(|import| !import.is_empty() && import != "none").collect()))
        })
        .collect()
}

fn list(names: &BTreeSet<String>) -> String {
    if names.is_empty() { "none".to_owned() } else { names.iter().cloned().collect::<Vec<_>>().join(", ") }
}

/// Checks each source file that git knows.
fn source_files(problems: &mut Vec<String>) -> Result<()> {
    let files = run_quietly(std::process::Command::new("git").current_dir(root()).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    for file in files.lines() {
        let path = Path::new(file);
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if !matches!(extension, "rs" | "ts" | "svelte" | "py") {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(root().join(path)) else { continue };
        let lines = text.lines().count();
        if lines > MAX_LINES {
            problems.push(format!("{file}: {lines} lines, more than {MAX_LINES}"));
        }
        if extension == "rs" {
            rust_file(file, &text, problems);
        }
    }
    Ok(())
}

fn rust_file(file: &str, text: &str, problems: &mut Vec<String>) {
    if file.contains("/utils") || file.contains("/helpers") || file.contains("/common") {
        problems.push(format!("{file}: a dumping ground's name; say what it holds"));
    }
    if !text.trim_start().starts_with("//!") && !text.trim_start().starts_with("#![doc") {
        problems.push(format!("{file}: no module documentation at the top"));
    }
    // Tests wait for a condition with a deadline; the one place that polls is the support for that.
    let mut is_test = file.contains("/tests/") || file.ends_with("tests.rs");
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        is_test |= line.trim_start().starts_with("#[cfg(test)]") && !text.contains("#[cfg(test)]\nmod tests;");
        // A session of PostgreSQL that sleeps holds a lock; no test waits for it.
        let sleeps = line.contains("sleep(") && !line.contains("pg_sleep(");
        if is_test && sleeps && !line.trim_start().starts_with("//") && !line.contains("// polls") {
            problems.push(format!("{file}:{number}: a test sleeps; await a condition with a deadline"));
        }
        if line.trim_start().starts_with("#[ignore") {
            problems.push(format!("{file}:{number}: an ignored test"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_named_by_a_page_are_found() {
        let page = "It is done again (`kills::a_test`), see `cluster.expire_after` and `Some::Type`; `hub::b_1`.";
        assert_eq!(test_names(page).collect::<Vec<_>>(), ["kills::a_test", "hub::b_1"]);
        assert!(is_place("integration/tests/kills.rs", "kills"));
        assert!(is_place("master/engine/src/schedulers/tests.rs", "schedulers"));
        assert!(!is_place("integration/tests/skills.rs", "kills"));
    }
}
