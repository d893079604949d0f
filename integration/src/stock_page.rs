//! Buildbot's own web interface, from PyPI.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::stock_worker::buildbot_environment;

/// The views that come as packages of their own.
const VIEWS: [&str; 3] = ["waterfall_view", "console_view", "grid_view"];

/// Puts the files of Buildbot's web interface into `directory`, in the way that docs/master.md describes.
///
/// # Errors
/// If the packages are not installed, or a file cannot be copied.
pub fn stock_page(directory: &Path) -> Result<()> {
    let library = buildbot_environment()?.join("lib");
    let packages = fs::read_dir(&library)?
        .filter_map(|entry| Some(entry.ok()?.path().join("site-packages")))
        .find(|path| path.is_dir())
        .with_context(|| format!("no site-packages below {}", library.display()))?;
    copy(&packages.join("buildbot_www/static"), directory)?;
    for view in VIEWS {
        let target = directory.join("plugins").join(view);
        copy(&packages.join(format!("buildbot_{view}/static")), &target)?;
        // The page asks for each view's style sheet, and one of them has none.
        fs::OpenOptions::new().create(true).append(true).open(target.join("styles.css"))?;
    }
    ensure!(directory.join("index.html").is_file(), "buildbot-www has no index.html");
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("no {}: `cargo xtask test` installs it", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
