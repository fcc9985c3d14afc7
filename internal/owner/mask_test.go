package owner

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// maskCases: arguments, and how they are shown together. In what must be
// masked, the secret is written S3CRET so that it can be looked for.
var maskCases = []struct {
	argv []string
	want string
}{
	// Must be masked: options and properties.
	{[]string{"--password=S3CRET"}, "--password=***"},
	{[]string{"--password=a,S3CRET;x y"}, "--password=***"},
	{[]string{"--PASSWORD=S3CRET"}, "--PASSWORD=***"},
	{[]string{"app", "--password", "S3CRET", "run"}, "app --password *** run"},
	{[]string{"app", "--password", "S3CRET with blanks", "run"}, "app --password *** run"},
	{[]string{"app", "--password", "-S3CRET"}, "app --password ***"},
	{[]string{"app", "-passwd", "S3CRET"}, "app -passwd ***"},
	{[]string{"app", "-pwd", "S3CRET"}, "app -pwd ***"},
	{[]string{"app", "--pass", "S3CRET"}, "app --pass ***"},
	{[]string{"app", "--db-pass=S3CRET"}, "app --db-pass=***"},
	{[]string{"app", "--dbpass", "S3CRET"}, "app --dbpass ***"},
	{[]string{"app", "--client-secret", "S3CRET"}, "app --client-secret ***"},
	{[]string{"app", "--token", "S3CRET"}, "app --token ***"},
	{[]string{"app", "--auth-token=S3CRET"}, "app --auth-token=***"},
	{[]string{"app", "--authToken=S3CRET"}, "app --authToken=***"},
	{[]string{"app", "--APIKey=S3CRET"}, "app --APIKey=***"},
	{[]string{"app", "--api-key", "S3CRET"}, "app --api-key ***"},
	{[]string{"app", "--api_key=S3CRET"}, "app --api_key=***"},
	{[]string{"app", "--credentials=S3CRET"}, "app --credentials=***"},
	{[]string{"app", "--private-key=S3CRET"}, "app --private-key=***"},
	{[]string{"app", "--access-key", "S3CRET"}, "app --access-key ***"},
	{[]string{"app", "--aws-secret-access-key=S3CRET"}, "app --aws-secret-access-key=***"},
	{[]string{"app", "--auth", "user:S3CRET"}, "app --auth ***"},
	{[]string{"app", "--auth=user:S3CRET"}, "app --auth=***"},
	{[]string{"redis-server", "--requirepass", "S3CRET"}, "redis-server --requirepass ***"},
	{[]string{"keytool", "-storepass", "S3CRET", "-keypass", "S3CRET"}, "keytool -storepass *** -keypass ***"},
	{[]string{"java", "-Djavax.net.ssl.keyStorePassword=S3CRET", "Main"}, "java -Djavax.net.ssl.keyStorePassword=*** Main"},
	{[]string{"java", "-Dzookeeper.ssl.trustStore.password=S3CRET"}, "java -Dzookeeper.ssl.trustStore.password=***"},
	{[]string{"java", "-Dtoken=S3CRET", "-Dpass=S3CRET"}, "java -Dtoken=*** -Dpass=***"},
	{[]string{"java", "-Dzookeeper.DigestAuthenticationProvider.superDigest=super:S3CRET"}, "java -Dzookeeper.DigestAuthenticationProvider.superDigest=***"},
	{[]string{"gradle", "-Ptoken=S3CRET"}, "gradle -Ptoken=***"},
	{[]string{"helm", "--set", "auth.password=S3CRET"}, "helm --set auth.password=***"},
	{[]string{"helm", "--set=auth.password=S3CRET,S3CRET"}, "helm --set=auth.password=***"},
	{[]string{"app", "--token-value", "S3CRET"}, "app --token-value ***"},
	// Environment, data sources, texts.
	{[]string{"env", "DB_PASSWORD=S3CRET and more", "cmd"}, "env DB_PASSWORD=*** cmd"},
	{[]string{"docker", "run", "-e", "GITHUB_TOKEN=S3CRET"}, "docker run -e GITHUB_TOKEN=***"},
	{[]string{"docker", "--env=PGPASSWORD=S3CRET"}, "docker --env=PGPASSWORD=***"},
	{[]string{"sh", "-c", "export A=1 DB_PASS=S3CRET; run --token S3CRET -v"}, "sh -c export A=1 DB_PASS=***; run --token *** -v"},
	{[]string{"sh", "-c", `run --password "S3CRET S3CRET" now`}, "sh -c run --password *** now"},
	{[]string{"sh", "-c", `x; PASSWORD='S3CRET S3CRET' run`}, "sh -c x; PASSWORD=*** run"},
	{[]string{"java", `-Dsasl.jaas.config=Plain required username="u" password="S3\"CRET S3CRET";`}, `java -Dsasl.jaas.config=Plain required username="u" password=***;`},
	{[]string{"app", `{"user": "u", "password": "S3CRET"}`}, `app {"user": "u", "password": ***}`},
	{[]string{"app", "x; password = S3CRET; y"}, "app x; password = ***; y"},
	{[]string{"mount", "-o", "username=u,password=S3CRET,uid=0"}, "mount -o username=u,password=***,uid=0"},
	{[]string{"jdbc:mysql://h/d?user=u&password=S3CRET&x=1"}, "jdbc:mysql://h/d?user=u&password=***&x=1"},
	{[]string{"jdbc:oracle:thin:scott/S3CRET@//h:1521/x"}, "jdbc:oracle:thin:scott/***@//h:1521/x"},
	{[]string{"Server=h;Uid=u;Pwd=S3CRET;"}, "Server=h;Uid=u;Pwd=***;"},
	{[]string{"openssl", "-passin", "pass:S3CRET"}, "openssl -passin pass:***"},
	{[]string{"curl", "-H", "Authorization: Bearer S3CRET"}, "curl -H Authorization: ***"},
	{[]string{"curl", "-HAuthorization: Bearer S3CRET"}, "curl -HAuthorization: ***"},
	{[]string{"curl", "-H", "X-Auth-Token: S3CRET"}, "curl -H X-Auth-Token: ***"},
	{[]string{"curl", "-H", "Cookie: a=S3CRET; b=S3CRET"}, "curl -H Cookie: ***"},
	{[]string{"sh", "-c", `curl -H "Authorization: Basic S3CRET" http://h`}, `sh -c curl -H "Authorization: ***" http://h`},
	{[]string{"curl", "-u", "joe:S3CRET", "http://h"}, "curl -u joe:*** http://h"},
	// URLs.
	{[]string{"http://joe:S3CRET@h:80/p?q"}, "http://joe:***@h:80/p?q"},
	{[]string{"--url=amqp://joe:S3C@RET@h/v"}, "--url=amqp://joe:***@h/v"},
	{[]string{"http://joe:S3/CR#ET@h/"}, "http://joe:***@h/"},
	{[]string{"redis://:S3CRET@h:6379"}, "redis://:***@h:6379"},
	{[]string{"https://S3CRETS3CRETS3CRETS3CRET@github.com/x"}, "https://***@github.com/x"},
	{[]string{"joe:S3CRET@tcp(h:3306)/db"}, "joe:***@tcp(h:3306)/db"},
	{[]string{"a http://u:S3CRET@h b http://v:S3CRET@i"}, "a http://u:***@h b http://v:***@i"},

	// Must not be masked.
	{[]string{"git", "commit", "--author-name", "Ada", "--author=Ada <a@b>"}, "git commit --author-name Ada --author=Ada <a@b>"},
	{[]string{"-Dzookeeper.compass=north", "--compass", "north", "--bypass", "x"}, "-Dzookeeper.compass=north --compass north --bypass x"},
	{[]string{"-Djava.security.auth.login.config=/etc/jaas.conf"}, "-Djava.security.auth.login.config=/etc/jaas.conf"},
	{[]string{"-Dzookeeper.authProvider.sasl=org.apache.X"}, "-Dzookeeper.authProvider.sasl=org.apache.X"},
	{[]string{"-Dcom.sun.management.jmxremote.authenticate=false"}, "-Dcom.sun.management.jmxremote.authenticate=false"},
	{[]string{"--password-file", "/run/p", "--token-ttl=3600"}, "--password-file /run/p --token-ttl=3600"},
	{[]string{"--auth=true", "--auth", "--port", "27017"}, "--auth=true --auth --port 27017"},
	{[]string{"--auth", "on", "x"}, "--auth on x"},
	{[]string{"--no-password", "x", "--max-tokens", "9", "--tokenizer=bpe"}, "--no-password x --max-tokens 9 --tokenizer=bpe"},
	{[]string{"http://h:2181/p@x", "zk://a:2181,b:2181/r@v"}, "http://h:2181/p@x zk://a:2181,b:2181/r@v"},
	{[]string{"ssh://git@github.com/x", "git@github.com:a/b"}, "ssh://git@github.com/x git@github.com:a/b"},
	{[]string{"http://[::1]:80/a@b"}, "http://[::1]:80/a@b"},
	{[]string{"auth:8080", "auth:2181/chroot", "secretary"}, "auth:8080 auth:2181/chroot secretary"},
	{[]string{"java", "-cp", "/a/token:/b/pass:lib/auth:/c.jar"}, "java -cp /a/token:/b/pass:lib/auth:/c.jar"},
	{[]string{"mailto:ada@example.org"}, "mailto:ada@example.org"},
	{[]string{"PWD=/root", "-XX:OnError=gdb - %p"}, "PWD=/root -XX:OnError=gdb - %p"},
	{[]string{"mysql", "-pfoo"}, "mysql -pfoo"}, // too far: -p means many things
	{[]string{"passwd", "root"}, "passwd root"},
	{[]string{"--password"}, "--password"},
	{[]string{"--password=", "--password", ""}, "--password= --password "},
	{nil, ""},
}

func TestMask(t *testing.T) {
	for _, c := range maskCases {
		got := maskArgv(c.argv, false)
		if got != c.want {
			t.Errorf("%q\n got %q\nwant %q", c.argv, got, c.want)
		}
	}
}

// The same argument list as one text, as a shell is given it: nothing secret
// may show either.
func TestMaskInShellText(t *testing.T) {
	for _, c := range maskCases {
		text := "true; " + strings.Join(c.argv, " ")
		if strings.Contains(text, "with blanks") || strings.Contains(text, "and more") ||
			strings.Contains(text, "curl -u") || strings.Contains(text, "x y") || strings.Contains(text, "S3CRET,S3CRET") {
			continue // without quotes, a value ends at a blank or comma
		}
		if got := maskArgv([]string{"sh", "-c", text}, false); strings.Contains(got, "S3C") {
			t.Errorf("%q shows %q", text, got)
		}
	}
}

func TestMaskCut(t *testing.T) {
	long := strings.Repeat("x", 2*maxMaskedArg)
	for _, argv := range [][]string{
		{"app", "--password=" + long + "S3CRET", "--token", "S3CRET"},
		{"app", "http://joe:" + long + "S3CRET@h"},
	} {
		got := maskArgv(argv, false)
		if strings.Contains(got, "xxx") || strings.Contains(got, "S3CRET") || !strings.Contains(got, mask+cutMark) {
			t.Errorf("shows %.200q", got)
		}
	}
	if got, want := maskArgv([]string{"app", "http://joe:S3CR"}, true), "app http://joe:***…"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzMask(f *testing.F) {
	for _, c := range maskCases {
		f.Add(strings.Join(c.argv, "\x00"), false)
	}
	f.Add("\xff--password\x00\x1b[31m\n=\"", true)
	f.Fuzz(func(t *testing.T, raw string, cut bool) {
		argv := strings.Split(raw, "\x00")
		out := clean(spaces.Replace(maskArgv(argv, cut)), maxCmdline)
		if len(out) > maxCmdline || !utf8.ValidString(out) || strings.ContainsAny(out, "\x00\n\r") {
			t.Errorf("%q became %q", argv, out)
		}
		// Whatever comes before, an option given last is masked.
		if got := maskArgv(append(argv, "--password=S3CRETTTT"), false); strings.Contains(got, "S3CRETTTT") {
			t.Errorf("%q shows %q", argv, got)
		}
	})
}
