//! Names of Buildbot's classes that this version knows by name only. Using one is an error that
//! says so, instead of "no such class".

const DEFERRED: &[(&str, &[&str])] = &[
    (
        "worker",
        &[
            "DockerLatentWorker", "EC2LatentWorker", "KubeLatentWorker", "LibVirtWorker", "LocalLatentWorker",
            "OpenStackLatentWorker", "UpcloudLatentWorker", "MarathonLatentWorker", "AbstractLatentWorker",
            "AbstractWorker",
        ],
    ),
    (
        "changes",
        &[
            "HgPoller", "SVNPoller", "P4Source", "BzrPoller", "GitHubPullrequestPoller", "BitbucketPullrequestPoller",
            "GerritChangeSource", "GerritEventLogPoller", "PBChangeSource", "MaildirSource", "CVSMaildirSource",
            "SVNCommitEmailMaildirSource", "BzrLaunchpadEmailMaildirSource", "GerritChangeFilter", "P4PollingSource",
        ],
    ),
    ("schedulers", &["Try_Jobdir", "Try_Userpass"]),
    (
        "steps",
        &[
            "ShellSequence", "CMake", "Compile", "WarningCountingShellCommand", "Test", "TreeSize", "PerlModuleTest",
            "SubunitShellCommand", "HLint", "MaxQ", "Trigger", "BuildEPYDoc", "PyFlakes", "PyLint", "Sphinx", "Trial",
            "RemovePYCs", "HTTPStep", "POST", "GET", "PUT", "DELETE", "HEAD", "OPTIONS", "SetPropertiesFromEnv",
            "FileExists", "CopyDirectory", "RemoveDirectory", "MakeDirectory", "FileUpload", "DirectoryUpload",
            "MultipleFileUpload", "FileDownload", "StringDownload", "JSONStringDownload", "JSONPropertiesDownload",
            "MasterShellCommand", "LogRenderable", "Assert", "RpmBuild", "RpmLint", "Mock", "MockBuildSRPM",
            "MockRebuild", "DebPbuilder", "DebCowbuilder", "UbuPbuilder", "UbuCowbuilder", "DebLintian", "GitCommit",
            "GitTag", "GitPush", "GitDiffInfo", "DownloadSecretsToWorker", "RemoveWorkerFileSecret",
            "BuildbotTestCiTrigger", "BuildbotCiSetupSteps", "GitHub", "GitLab", "Gerrit", "Repo", "Mercurial", "SVN",
            "P4", "CVS", "Bzr", "Darcs", "Monotone", "VC6", "VC7", "VS2003", "VC8", "VS2005", "VCExpress9", "VC9",
            "VS2008", "VC10", "VS2010", "VC11", "VS2012", "VC12", "VS2013", "VC14", "VS2015", "VC141", "VS2017",
            "VS2019", "VS2022", "MsBuild", "MsBuild4", "MsBuild12", "MsBuild14", "MsBuild141", "MsBuild15",
            "MsBuild16", "MsBuild17", "Cppcheck", "Robocopy", "BuildStep", "ShellMixin", "CommandMixin",
            "CompositeStepMixin", "ShellCommandNewStyle", "LoggingBuildStep",
        ],
    ),
    (
        "util",
        &[
            "MasterLock", "WorkerLock", "LockAccess", "Codebase", "SourceStampFilter", "JanitorConfigurator",
            "GNUAutoconf", "BasicBuildFactory", "QuickBuildFactory", "BasicSVN", "CPAN", "Distutils", "Trial",
            "ShellArg", "RevlinkMatch", "GitwebMatch", "RevlinkMultiplexer", "RepoDownloadsFromProperties",
            "RepoDownloadsFromChangeSource", "OldBuildCanceller", "FailingBuildsetCanceller", "Machine",
            "LocalWakeAction", "LocalWOLAction", "RemoteSshWakeAction", "RemoteSshWOLAction",
            "RemoteSshSuspendAction", "HttpAction", "GitHubAuth", "GitLabAuth", "GoogleAuth", "BitbucketAuth",
            "HTPasswdAuth", "HTPasswdAprAuth", "RemoteUserAuth", "CustomAuth", "LdapUserInfo", "AvatarGravatar",
            "AvatarGitHub", "KubeInClusterConfigLoader", "KubeCtlProxyConfigLoader", "KubeHardcodedConfig",
            "BuildStartEndStatusGenerator", "GitCredentialInputRenderer", "CommandlineUserManager", "DictLoader",
            "BuildEventLog", "StatsService", "CaptureProperty", "CaptureBuildDuration", "InfluxStorageService",
        ],
    ),
    (
        "reporters",
        &[
            "MailNotifier", "IRC", "TelegramBot", "HttpStatusPush", "GitHubStatusPush", "GitHubCommentPush",
            "GitLabStatusPush", "GerritStatusPush", "GerritVerifyStatusPush", "BitbucketStatusPush",
            "BitbucketServerStatusPush", "BitbucketServerCoreAPIStatusPush", "BitbucketServerPRCommentPush",
            "PushoverNotifier", "PushjetNotifier", "ZulipStatusPush", "BuildStatusGenerator",
            "BuildStartEndStatusGenerator", "BuildRequestGenerator", "BuildSetStatusGenerator",
            "BuildSetCombinedStatusGenerator", "WorkerMissingGenerator", "MessageFormatter",
            "MessageFormatterRenderable", "MessageFormatterFunction", "MessageFormatterFunctionRaw",
            "MessageFormatterEmpty", "MessageFormatterMissingWorker", "GerritBuildSetStatusGenerator",
            "GerritBuildStartStatusGenerator", "GerritBuildEndStatusGenerator",
        ],
    ),
    ("secrets", &["SecretInAFile", "HashiCorpVaultKvSecretProvider", "SecretInPass"]),
    ("configurators", &["JanitorConfigurator"]),
    ("www", &["GitHubAuth", "GitLabAuth", "GoogleAuth", "BitbucketAuth", "HTPasswdAuth", "RemoteUserAuth"]),
];

/// True if Buildbot has that class and this version has not.
pub(crate) fn deferred(namespace: &str, name: &str) -> bool {
    deferred_names(namespace).any(|n| n == name)
}

/// The deferred names of a namespace.
pub(crate) fn deferred_names(namespace: &str) -> impl Iterator<Item = &'static str> {
    DEFERRED
        .iter()
        .filter(move |(ns, _)| *ns == namespace)
        .flat_map(|(_, names)| names.iter().copied())
}
