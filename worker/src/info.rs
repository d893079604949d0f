//! What the worker tells about itself.

use std::collections::BTreeMap;
use std::path::Path;

use worker_protocol::{COMMAND_NAMES, COMMAND_VERSION, EXTENSION_GRACEFUL, EXTENSIONS_KEY, Value, WorkerInfo};

/// A file in `info/` that is longer is cut.
const MAX_INFO_BYTES: usize = 64 * 1024;

/// Gathers the answer to `get_worker_info`. Read anew for each connection: the files in `info/` may have changed.
pub(crate) fn gather(
    basedir: &Path,
    environ: &BTreeMap<String, String>,
    numcpus: Option<u32>,
    delete_leftover_dirs: bool,
) -> WorkerInfo {
    let mut extra = BTreeMap::new();
    for (name, text) in info_files(&basedir.join("info")).into_iter().chain(os_release()) {
        extra.insert(name, Value::from(text));
    }
    extra.insert(EXTENSIONS_KEY.to_owned(), Value::Array(vec![Value::from(EXTENSION_GRACEFUL)]));
    let cpus = numcpus.unwrap_or_else(|| {
        std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
    });
    WorkerInfo {
        environ: environ.clone(),
        system: "posix".to_owned(),
        basedir: basedir.to_string_lossy().into_owned(),
        numcpus: i64::from(cpus),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        worker_commands: COMMAND_NAMES.map(|name| (name.to_owned(), COMMAND_VERSION.to_owned())).into(),
        delete_leftover_dirs,
        extra,
    }
}

/// The environment of this process; what is not UTF-8 is shown with U+FFFD.
pub(crate) fn environ() -> BTreeMap<String, String> {
    std::env::vars_os().map(|(k, v)| (k.to_string_lossy().into_owned(), v.to_string_lossy().into_owned())).collect()
}

fn info_files(dir: &Path) -> Vec<(String, String)> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') || !path.is_file() {
            continue;
        }
        if let Ok(mut bytes) = std::fs::read(&path) {
            bytes.truncate(MAX_INFO_BYTES);
            files.push((name, String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    files
}

fn os_release() -> Vec<(String, String)> {
    let text = ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| std::fs::read_to_string(path).ok());
    text.unwrap_or_default().lines().filter_map(os_release_line).collect()
}

fn os_release_line(line: &str) -> Option<(String, String)> {
    let (key, value) = line.trim().split_once('=')?;
    if key.starts_with('#') {
        return None;
    }
    let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    Some((format!("os_{}", key.to_lowercase()), quoted.unwrap_or(value).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_lines_become_keys() {
        let pair = |k: &str, v: &str| Some((k.to_owned(), v.to_owned()));
        assert_eq!(os_release_line("NAME=\"Debian GNU/Linux\""), pair("os_name", "Debian GNU/Linux"));
        assert_eq!(os_release_line("ID=debian"), pair("os_id", "debian"));
        assert_eq!(os_release_line("# comment=x"), None);
    }

    #[test]
    fn info_has_the_files_and_both_forms_of_command_names() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("info")).unwrap();
        std::fs::write(dir.path().join("info/admin"), "me\n").unwrap();
        let info = gather(dir.path(), &BTreeMap::new(), Some(3), true);
        assert_eq!(info.extra_text("admin").unwrap(), "me\n");
        assert_eq!((info.numcpus, info.delete_leftover_dirs), (3, true));
        assert!(info.worker_commands.contains_key("upload_file") && info.worker_commands.contains_key("uploadFile"));
        assert_eq!(WorkerInfo::from_value(&info.to_value()), info);
    }
}
