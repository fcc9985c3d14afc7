package owner

import (
	"strings"
	"testing"
)

func TestJVMLabel(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-cp /etc/zookeeper/conf:/usr/share/java/zookeeper.jar -Xmx1g org.apache.zookeeper.server.quorum.QuorumPeerMain /etc/zookeeper/conf/zoo.cfg", "org.apache.zookeeper.server.quorum.QuorumPeerMain"},
		{"-Xmx1G -XX:+UseG1GC -Dkafka.logs.dir=/x -cp a:b kafka.Kafka server.properties", "kafka.Kafka"},
		{"-jar /opt/app/app-1.2.jar --port 80", "app-1.2.jar"},
		{"-jar -Xmx1g app.jar x", "app.jar"},
		{"-classpath x Main", "Main"},
		{"--class-path x Main", "Main"},
		{"--class-path=x Main", "Main"},
		{"-p mods -m org.ex/org.ex.Main arg", "org.ex.Main"},
		{"--module-path mods --module org.ex", "org.ex"},
		{"--module=org.ex/org.ex.Main", "org.ex.Main"},
		{"--add-modules ALL-SYSTEM --add-opens java.base/java.lang=ALL-UNNAMED --add-opens=java.base/java.util=X --add-exports a/b=c --add-reads a=b --patch-module a=b Main", "Main"},
		{"--enable-preview --source 21 /tmp/Hello.java x", "Hello.java"},
		{"org/example/Main x", "org.example.Main"},
		{"-javaagent:/x/agent.jar=opt Main", "Main"},
		{"@/etc/jvm.options -cp x org.ex.Main arg", "org.ex.Main"},
		{"@/etc/argfile zoo.cfg", ""}, // the class stands in the file
		{"@/etc/argfile", ""},
		{"zk:2181 x", ""}, // not a class
		{"-version", ""},
		{"-cp", ""},
		{"-m", ""},
		{"-jar", ""},
		{"", ""},
	} {
		argv := append([]string{"java"}, strings.Fields(c.args)...)
		if got := JVMLabel(argv); got != c.want {
			t.Errorf("java %s: got %q, want %q", c.args, got, c.want)
		}
	}
	if got := JVMLabel(nil); got != "" {
		t.Errorf("no arguments: got %q", got)
	}
}

func TestLabel(t *testing.T) {
	for _, c := range []struct{ exe, args, want string }{
		{"/usr/lib/jvm/bin/java", "zookeeper -cp x org.ex.Main", "org.ex.Main"},
		{"/usr/lib/jvm/bin/java (deleted)", "x -cp x org.ex.Main", "org.ex.Main"},
		{"", "/usr/bin/java -jar a.jar", "a.jar"},
		{"/usr/bin/python3.11", "python3 /opt/x/app.py --port 1", "app.py"},
		{"/usr/bin/python3.11", "python3 -u -X dev -W ignore -m http.server 80", "http.server"},
		{"/usr/bin/python3.11", "python3 -um http.server", "http.server"},
		{"/usr/bin/python3.11", "python3 -mhttp.server", "http.server"},
		{"/usr/bin/python3.11", "python3 -c code x.py", ""},
		{"/usr/bin/python3.11", "python3 -", ""},
		{"/usr/bin/python3.11", "python3", ""},
		{"/usr/bin/node", "node --max-old-space-size=100 -r ts-node/register --require x /srv/server.js a", "server.js"},
		{"/usr/bin/node", "node --eval code x", ""},
		{"/usr/bin/node", "node -e code x", ""},
		{"/usr/bin/ruby3.1", "ruby -w -Ilib -rjson bin/puma x", "puma"},
		{"/usr/bin/ruby3.1", "ruby -I lib -r json bin/puma x", "puma"},
		{"/usr/bin/perl", "perl -wT -MFoo=bar -I lib ./starman x", "starman"},
		{"/usr/bin/perl", "perl -lne print x", ""},
		{"/usr/bin/bash", "bash -euo pipefail -x /srv/run.sh y", "run.sh"},
		{"/usr/bin/bash", "-bash", ""},
		{"/usr/bin/bash", "bash -lc cmd x", ""},
		{"/usr/bin/bash", "bash --rcfile f --norc run.sh", "run.sh"},
		{"/usr/bin/dash", "sh -- /a/b.sh", "b.sh"},
		{"/usr/bin/dash", "sh --", ""},
		{"/usr/bin/curl", "curl http://x", ""},
		{"/usr/bin/pythonista", "pythonista x.py", ""},
		{"/usr/bin/java", "", ""},
	} {
		if got := label(c.exe, strings.Fields(c.args)); got != c.want {
			t.Errorf("%s as %q: got %q, want %q", c.exe, c.args, got, c.want)
		}
	}
}

func TestLabelHidesSecrets(t *testing.T) {
	for args, want := range map[string]string{
		"node --token S3CRET app.js":     "",
		"java --password S3CRET Main":    "",
		"java http://joe:S3CRET@h":       "",
		"node --title x --token=a /b.js": "b.js",
	} {
		if got := openLabel("", strings.Fields(args)); got != want {
			t.Errorf("%s: got %q, want %q", args, got, want)
		}
	}
}

func FuzzJVMLabel(f *testing.F) {
	f.Add("java\x00-cp\x00a\x00-m\x00x/y")
	f.Add("python3\x00-um\x00")
	f.Add("sh\x00-euo\x00")
	f.Add("java\x00@x\x00\xff.Z\x1b[2J\n")
	f.Fuzz(func(t *testing.T, raw string) {
		argv := strings.Split(raw, "\x00")
		for _, l := range []string{JVMLabel(argv), label("/usr/bin/node", argv), label("", argv)} {
			// A label is never made up: its parts stand in the command line.
			for part := range strings.SplitSeq(l, ".") {
				if !strings.Contains(raw, part) {
					t.Errorf("%q has label %q", argv, l)
				}
			}
		}
	})
}
