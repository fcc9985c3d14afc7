package pipeline

import (
	"io"
	"testing"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
	"rstwhy/internal/sink"
)

// BenchmarkFinish is the cost of one record from raw bytes to a JSON line:
// decode, classify, judge, tally, encode.
func BenchmarkFinish(b *testing.B) {
	names := probe.Names{
		States:  map[uint8]string{1: "ESTABLISHED", 7: "CLOSE", 10: "LISTEN"},
		Reasons: map[uint16]string{14: "TCP_STATE"}, HZ: 250,
	}
	f := newFinisher(Options{Sinks: []sink.Sink{sink.NewJSON(io.Discard)}, Host: "host"}, names, probe.Clock{})
	res := Resolution{
		Owner:  &event.Process{PID: 1, Comm: "java", Label: "kafka.Kafka", Cmdline: "java -cp x kafka.Kafka"},
		Source: event.SourceCurrent, Proven: true,
	}
	res.Raw.Kind, res.Raw.Direction, res.Raw.Socket, res.Raw.State, res.Raw.PrevState = 1, 1, 1, 7, 1
	res.Raw.Flags = 1 << 13 // counters
	b.ReportAllocs()
	for i := range b.N {
		res.Raw.PeerPort = uint16(i)
		f.finish(&res)
	}
}
