package zk

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"rstwhy/internal/event"
)

// ParsePage reads the JSON of an AdminServer's page. Like ParseAnswer it never
// fails.
func ParsePage(p Page, body []byte) Answer {
	a := Answer{Bytes: len(body)}
	var o object
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if d.Decode(&o) != nil || p.String() == "" || o.text("command") != p.String() {
		a.foreign(body)
		return a
	}
	switch problem := o.text("error"); {
	case strings.HasPrefix(problem, notServing):
		a.Outcome, a.Detail = event.OutcomeNotServing, notServingDetail
		return a
	case problem != "":
		a.Outcome, a.Detail = OutcomeHTTPError, `the AdminServer says "`+printable(problem, maxDetail-64)+`"`
		return a
	}
	complete := false
	switch p {
	case Stats:
		stats := o.object("server_stats")
		a.version(o.text("version"))
		a.measured(stats, "num_alive_client_connections")
		a.Nodes, a.ReadOnly = o.number("node_count"), o.boolean("read_only")
		if n := stats.number("last_processed_zxid"); n.Known {
			a.Zxid = "0x" + strconv.FormatInt(n.N, 16)
		}
		complete = a.Version != ""
	case Monitor:
		a.version(o.text("version"))
		a.measured(o, "num_alive_connections")
		a.Nodes, a.Rejected = o.number("znode_count"), o.number("connection_rejected")
		complete = a.Version != ""
	case Configuration:
		a.PerAddress = o.number("max_client_cnxns")
		complete = o.number("tick_time").Known
	case Environment:
		a.version(o.text("zookeeper.version"))
		a.java(o.text("java.version"))
		complete = a.Version != ""
	case IsReadOnly:
		a.ReadOnly = o.boolean("read_only")
		complete = a.ReadOnly != nil
	}
	if !complete {
		a.foreign(body)
		return a
	}
	a.Outcome = event.OutcomeOK
	return a
}

// measured reads what stats and monitor have in common.
func (a *Answer) measured(o object, connections string) {
	a.mode(o.text("server_state"))
	a.Connections, a.Outstanding = o.number(connections), o.number("outstanding_requests")
	a.Received, a.Sent = o.number("packets_received"), o.number("packets_sent")
	a.UptimeMS = o.number("uptime")
	a.Latency = latency([3]string{o.digits("min_latency"), o.digits("avg_latency"), o.digits("max_latency")})
}

// object is a JSON object of which nothing is known: a value of another type
// than expected counts as missing.
type object map[string]any

func (o object) text(key string) string {
	s, _ := o[key].(string)
	return s
}

func (o object) digits(key string) string {
	n, _ := o[key].(json.Number)
	return n.String()
}

func (o object) number(key string) event.Number { return number(o.digits(key)) }

func (o object) boolean(key string) *bool {
	if b, ok := o[key].(bool); ok {
		return &b
	}
	return nil
}

func (o object) object(key string) object {
	inner, _ := o[key].(map[string]any)
	return inner
}
