//! Links to revisions, for the well-known hosts that Buildbot's default `revlink` knows.

/// The page of a revision, or an empty text if the host is not known.
pub(crate) fn default_revlink(revision: &str, repository: &str) -> String {
    let Some((host, path)) = host_and_path(repository) else { return String::new() };
    let path = path.trim_matches('/');
    let bare = path.strip_suffix(".git").unwrap_or(path);
    let parts: Vec<&str> = bare.split('/').collect();
    match (host, parts.as_slice()) {
        ("github.com", [owner, name]) => format!("https://github.com/{owner}/{name}/commit/{revision}"),
        ("bitbucket.org", [owner, name]) => format!("https://bitbucket.org/{owner}/{name}/commits/{revision}"),
        ("git.code.sf.net" | "svn.code.sf.net" | "hg.code.sf.net", ["p", project, module]) => {
            format!("http://sourceforge.net/p/{project}/{module}/ci/{revision}/")
        }
        _ => String::new(),
    }
}

/// Takes apart `scheme://user@host:port/path` and `user@host:path`.
fn host_and_path(repository: &str) -> Option<(&str, &str)> {
    let (authority, path) = match repository.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?,
        None => repository.split_once(':')?,
    };
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = host.split_once(':').map_or(host, |(host, _)| host);
    Some((host, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_hosts_have_links() {
        let github = "https://github.com/o/n/commit/abc";
        for url in [
            "https://github.com/o/n.git",
            "git@github.com:o/n.git",
            "git://github.com/o/n",
            "ssh://git@github.com:22/o/n",
        ] {
            assert_eq!(default_revlink("abc", url), github, "{url}");
        }
        assert_eq!(default_revlink("abc", "https://u@bitbucket.org/o/n"), "https://bitbucket.org/o/n/commits/abc");
        assert_eq!(default_revlink("abc", "git://git.code.sf.net/p/x/code"), "http://sourceforge.net/p/x/code/ci/abc/");
        for url in ["file:///srv/repo.git", "/srv/repo", "https://example.org/x", ""] {
            assert_eq!(default_revlink("abc", url), "", "{url}");
        }
    }
}
