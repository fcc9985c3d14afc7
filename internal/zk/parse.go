package zk

import (
	"bytes"
	"strconv"
	"strings"

	"rstwhy/internal/event"
)

// lines reads the key: value lines of srvr and stat. The client list of stat,
// which other people's addresses fill, is skipped: each of its lines begins
// with a space.
func (a *Answer) lines(text []byte) {
	each(text, func(l string) bool {
		if strings.HasPrefix(l, " ") {
			return false
		}
		if l == readOnly {
			a.Mode, a.ReadOnly = "read-only", new(true)
		} else if key, value, ok := strings.Cut(l, ": "); ok {
			a.stat(strings.TrimSpace(key), strings.TrimSpace(value))
		}
		return true
	})
	// Its absence says the opposite where the release knows the mode (3.4).
	if a.ReadOnly == nil && a.Mode != "" && (a.Major > 3 || a.Major == 3 && a.Minor >= 4) {
		a.ReadOnly = new(false)
	}
}

// each calls f for the lines of a text, until it has counted maxLines of them.
func each(text []byte, f func(line string) (counts bool)) {
	for seen := 0; len(text) > 0 && seen < maxLines; {
		l := line(text)
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			text = text[i+1:]
		} else {
			text = nil
		}
		if f(l) {
			seen++
		}
	}
}

func (a *Answer) stat(key, value string) {
	switch {
	case strings.EqualFold(key, "Zookeeper version"):
		a.version(value)
	case key == "Latency min/avg/max":
		if parts := strings.Split(value, "/"); len(parts) == 3 {
			a.Latency = latency([3]string(parts))
		}
	case key == "Received":
		a.Received = number(value)
	case key == "Sent":
		a.Sent = number(value)
	case key == "Connections":
		a.Connections = number(value)
	case key == "Outstanding":
		a.Outstanding = number(value)
	case key == "Node count":
		a.Nodes = number(value)
	case key == "Zxid" && zxidText.MatchString(value):
		a.Zxid = value
	case key == "Mode":
		a.mode(value)
	}
}

func (a *Answer) mode(value string) {
	if a.Mode == "" && modeText.MatchString(value) {
		a.Mode = value
	}
}

// envi reads the key=value lines of the server's environment.
func (a *Answer) envi(text []byte) {
	each(text, func(l string) bool {
		key, value, _ := strings.Cut(l, "=")
		switch key {
		case "zookeeper.version":
			a.version(value)
		case "clickhouse.keeper.version":
			a.keeper(value)
		case "java.version":
			a.java(value)
		}
		return true
	})
}

func (a *Answer) java(value string) {
	if javaText.MatchString(value) {
		a.Java = value
	}
}

// mntr reads lines of key, tab and value. The order changed between releases,
// and 3.6 added hundreds of keys.
func (a *Answer) mntr(text []byte) {
	var l [3]string
	each(text, func(s string) bool {
		key, value, ok := strings.Cut(s, "\t")
		if !ok {
			return true
		}
		switch key {
		case "zk_version":
			// ClickHouse Keeper writes its own version here, with a v before it.
			if strings.HasPrefix(value, "v") && a.Version == "" {
				a.keeper(value)
			}
			a.version(value)
		case "zk_server_state":
			a.mode(value)
		case "zk_min_latency":
			l[0] = value
		case "zk_avg_latency":
			l[1] = value
		case "zk_max_latency":
			l[2] = value
		case "zk_num_alive_connections":
			a.Connections = number(value)
		case "zk_outstanding_requests":
			a.Outstanding = number(value)
		case "zk_packets_received":
			a.Received = number(value)
		case "zk_packets_sent":
			a.Sent = number(value)
		case "zk_znode_count":
			a.Nodes = number(value)
		case "zk_connection_rejected":
			a.Rejected = number(value)
		case "zk_uptime":
			a.UptimeMS = number(value)
		}
		return true
	})
	a.Latency = latency(l)
}

// conf reads the key=value lines of the configuration that is in force. It
// tells no version, so what makes it ZooKeeper's are two keys that every
// release writes.
func (a *Answer) conf(text []byte) {
	var sawTick, sawServer, sawKeeper bool
	each(text, func(l string) bool {
		key, value, ok := strings.Cut(l, "=")
		if !ok {
			return true
		}
		switch key {
		case "four_letter_word_allow_list", "four_letter_word_white_list":
			sawKeeper = true
		case "tickTime":
			sawTick = number(value).Known
		case "serverId":
			sawServer = number(value).Known
		case "maxClientCnxns":
			a.PerAddress = number(value) // -1, where there is no port for clients, is no limit of one
		}
		return true
	})
	switch {
	case sawKeeper:
		a.Outcome, a.Detail = event.OutcomeKeeper, "ClickHouse Keeper, not Apache ZooKeeper"
	case sawTick && sawServer:
		a.Outcome = event.OutcomeOK
	default:
		a.foreign(text)
	}
}

// isro reads the one word without a line end.
func (a *Answer) isro(text []byte) {
	switch string(bytes.TrimRight(text, "\r\n")) {
	case "rw":
		a.Outcome, a.ReadOnly = event.OutcomeOK, new(false)
	case "ro":
		a.Outcome, a.ReadOnly = event.OutcomeOK, new(true)
	case "null":
		a.Outcome, a.Detail = event.OutcomeNotServing, notServingDetail
	default:
		a.foreign(text)
	}
}

// version takes the first version line only, so that nothing later in the
// answer can replace it.
func (a *Answer) version(value string) {
	m := versionText.FindStringSubmatch(value)
	if m == nil || a.Version != "" {
		return
	}
	a.Major, _ = strconv.Atoi(m[1])
	a.Minor, _ = strconv.Atoi(m[2])
	a.Patch, _ = strconv.Atoi(m[3])
	a.VendorBuild = !apacheBuild.MatchString(m[4])
	a.Version = printable(m[1]+"."+m[2]+"."+m[3]+m[4], maxVersion)
}

// latency takes minimum, average and maximum.
func latency(parts [3]string) *Latency {
	var l Latency
	for i, p := range []*float64{&l.MinMS, &l.AvgMS, &l.MaxMS} {
		f, err := strconv.ParseFloat(parts[i], 64)
		if err != nil || !(f >= 0 && f < 1e15) {
			return nil
		}
		*p = f
	}
	return &l
}

func number(value string) event.Number {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		return event.Number{}
	}
	return event.Num(n)
}
