package zk

import (
	"path"
	"strings"
)

// Location says where a server has its client ports from.
type Location struct {
	Path       string // its configuration file as the command line names it; may be relative
	ClientPort uint16 // given on the command line instead of a file
	DataDir    string // with it
}

// The main classes that are a server. PurgeTxnLog, ZooKeeperMain and the other
// tools of the same jar are none.
var serverClasses = map[string]bool{
	"org.apache.zookeeper.server.quorum.QuorumPeerMain": true,
	"org.apache.zookeeper.server.ZooKeeperServerMain":   true,
}

// Options of the java launcher whose value is the next argument (java(1)).
var launcherValues = map[string]bool{
	"-cp": true, "-classpath": true, "--class-path": true,
	"-p": true, "--module-path": true, "--upgrade-module-path": true,
	"--add-modules": true, "--add-opens": true, "--add-exports": true,
	"--add-reads": true, "--limit-modules": true, "--patch-module": true,
	"--enable-native-access": true, "--source": true,
}

// ServerFromCmdline tells whether a command line is that of a ZooKeeper server.
// Only the place of the main class counts: a command that merely names the
// class (grep, jps, a shell) is none.
func ServerFromCmdline(argv []string) (Location, bool) {
	if len(argv) < 2 {
		return Location{}, false
	}
	switch path.Base(argv[0]) {
	case "java":
		return serverArguments(javaMain(argv[1:]))
	case "jsvc", "jsvc.exec":
		// jsvc has options of its own, some with values; the class is
		// followed by the server's arguments there as well.
		for i := range argv {
			if l, ok := serverArguments(argv[i:]); ok {
				return l, true
			}
		}
	}
	return Location{}, false
}

// javaMain skips the launcher's options.
func javaMain(args []string) []string {
	for i := 0; i < len(args); i++ {
		switch {
		case launcherValues[args[i]]:
			i++
		case strings.HasPrefix(args[i], "-"), strings.HasPrefix(args[i], "@"):
		default:
			return args[i:]
		}
	}
	return nil
}

// serverArguments reads main class and arguments: one is the configuration
// file, two to four are clientPort dataDir [tickTime] [maxClientCnxns]
// (ServerConfig.parse).
func serverArguments(args []string) (Location, bool) {
	if len(args) == 0 || !serverClasses[strings.ReplaceAll(args[0], "/", ".")] {
		return Location{}, false
	}
	switch {
	case len(args) == 2:
		return Location{Path: args[1]}, true
	case len(args) > 2:
		return Location{ClientPort: port(args[1]), DataDir: args[2]}, true
	}
	return Location{}, true
}
