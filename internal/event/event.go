// Package event is rstwhy's vocabulary: the record of one TCP reset as every
// sink prints it, every rule reads it and the JSON Schema describes it.
//
// The fields that the kernel gives are born in bpf/event.h and reach this
// record through internal/probe's decoder; this package adds what user space
// learns (process, ZooKeeper snapshot, verdict). It imports nothing but the
// standard library and holds no behaviour beyond naming and formatting.
package event

import (
	"net/netip"
	"time"
)

// Schema is the version of the JSON objects. It grows only when a field
// changes its meaning or goes away; new fields do not change it.
const Schema = 1

// Direction tells who sent the RST, seen from this host.
type Direction string

// The two directions of a reset.
const (
	Sent     Direction = "sent"
	Received Direction = "received"
)

// SocketKind is the kind of kernel socket that the RST concerned.
type SocketKind string

// The kinds of socket: a full one, a TIME_WAIT minisocket, a connection
// request that no process has seen yet, or none at all.
const (
	SocketFull     SocketKind = "full"
	SocketTimewait SocketKind = "timewait"
	SocketRequest  SocketKind = "request"
	SocketNone     SocketKind = "none"
)

// OwnerSource says how the owner was obtained.
type OwnerSource string

// How an owner can be known, strongest first.
const (
	SourceCurrent   OwnerSource = "current"   // the process was in a system call on this very socket
	SourceCloser    OwnerSource = "closer"    // it closed the socket, and nobody else held it
	SourceSocket    OwnerSource = "socket"    // stored with the socket when it connected, shut down or closed
	SourceListener  OwnerSource = "listener"  // it called listen() on the socket, or on the one that accepted this connection
	SourceTombstone OwnerSource = "tombstone" // remembered under the 4-tuple of a socket that is gone
	SourceIterator  OwnerSource = "iterator"  // found by walking the descriptors of all processes
	SourceNone      OwnerSource = "none"      // no process is known
)

// EndKind is the way in which a process gave up a socket.
type EndKind string

// The ways in which a process can end a connection.
const (
	EndClose  EndKind = "close"  // close(), shutdown(), connect(AF_UNSPEC) or exec of a close-on-exec descriptor
	EndExit   EndKind = "exit"   // the process exited by itself
	EndSignal EndKind = "signal" // a signal killed the process
	EndOOM    EndKind = "oom"    // the kernel's out-of-memory killer killed it
)

// ActorKind says what kind of agent caused the RST, as far as it can be told.
type ActorKind string

// Who can cause a reset.
const (
	ActorProcess  ActorKind = "process"  // a local process, by a system call on the socket or on its listener
	ActorKiller   ActorKind = "killer"   // another process, which destroyed the socket from outside (ss -K and other users of SOCK_DESTROY)
	ActorTimer    ActorKind = "timer"    // a timer of the kernel: nobody acted
	ActorKernel   ActorKind = "kernel"   // the kernel, which answered a segment by TCP's rules: nobody acted now
	ActorFirewall ActorKind = "firewall" // a netfilter rule of this host (REJECT with tcp-reset)
	ActorPeer     ActorKind = "peer"     // the other end, or something on the way that speaks in its name
	ActorUnknown  ActorKind = "unknown"  // none of these could be told from another
)

// Actor is who caused the RST to be sent, which need not be who owns the
// connection.
type Actor struct {
	Kind    ActorKind `json:"kind"`    // process, killer, timer, kernel, firewall, peer or unknown
	Process *Process  `json:"process"` // the process that acted; null where none did or none is known
}

// Effect is what a RST that arrived did.
type Effect string

// What an arriving RST can do.
const (
	EffectKilled  Effect = "killed"  // the connection, request or TIME_WAIT entry is gone
	EffectRefused Effect = "refused" // a connect() failed with ECONNREFUSED
	EffectIgnored Effect = "ignored" // dropped, or answered with a challenge ACK: nothing changed
	EffectUnknown Effect = "unknown" // the kernel dropped the segment, and what became of the connection could not be told
)

// NAT is the translation that conntrack of this host had made for the
// connection: the addresses that the client used, and those of the server's
// answers, as conntrack's original and reply direction hold them.
type NAT struct {
	Source           Endpoint `json:"source"`            // who opened the connection
	Destination      Endpoint `json:"destination"`       // the address it asked for, such as that of a Kubernetes service
	ReplySource      Endpoint `json:"reply_source"`      // who really answers
	ReplyDestination Endpoint `json:"reply_destination"` // the address that the answers go to
}

// Hook is the place in the kernel that showed a reset.
type Hook string

// The hooks that show resets.
const (
	HookSend     Hook = "send"     // tcp_send_reset
	HookReceive  Hook = "receive"  // tcp_receive_reset: the kernel accepted the RST
	HookDrop     Hook = "drop"     // kfree_skb: the kernel did not accept the RST
	HookFirewall Hook = "firewall" // a netfilter rule made the RST
)

// Endpoint is one end of a TCP connection. IPv4 addresses that the socket
// holds in v4-mapped form are given as IPv4.
type Endpoint struct {
	Address netip.Addr `json:"address"` // IP address, v4-mapped addresses as IPv4
	Port    uint16     `json:"port"`    // TCP port, host byte order
}

// AddrPort gives the endpoint as the standard library's pair.
func (e Endpoint) AddrPort() netip.AddrPort { return netip.AddrPortFrom(e.Address, e.Port) }

// String formats the endpoint as address:port, IPv6 in brackets.
func (e Endpoint) String() string { return e.AddrPort().String() }

// Process identifies a process by the pair (PID, StartTime), so that a reused
// pid is never taken for the one that held the socket.
type Process struct {
	PID         uint32    `json:"pid"`          // process id (tgid) in the initial pid namespace
	StartTime   time.Time `json:"start_time"`   // when the process started
	Comm        string    `json:"comm"`         // name of the process (of its main thread), at most 15 bytes
	Label       string    `json:"label"`        // what the process runs where comm says too little: a JVM's main class or jar, an interpreter's script or module; else empty
	Exe         string    `json:"exe"`          // path of the executable; empty where /proc no longer had it
	Cmdline     string    `json:"cmdline"`      // command line, bounded to 1024 bytes, values that look like secrets masked
	UID         uint32    `json:"uid"`          // real user id in the initial user namespace
	Cgroup      string    `json:"cgroup"`       // cgroup v2 path (the longest path on cgroup v1); empty where unknown
	ContainerID string    `json:"container_id"` // container id found in the cgroup path; empty where there is none

	ContainerRuntime string `json:"container_runtime"` // what runs the container: docker, containerd, cri-o, podman or lxc; empty where nothing proves it
	ContainerName    string `json:"container_name"`    // name of the container, as the node's files tell it
	Pod              string `json:"pod"`               // name of the Kubernetes pod
	PodNamespace     string `json:"pod_namespace"`     // Kubernetes namespace of the pod
	PodUID           string `json:"pod_uid"`           // uid of the pod, as its cgroup has it
	Unit             string `json:"unit"`              // innermost systemd service or scope in the cgroup path, as systemctl writes it (with \xNN)

	CgroupID  uint64 `json:"-"` // kernel's cgroup v2 id, resolved to Cgroup by internal/owner
	StartBoot uint64 `json:"-"` // start time as the kernel keeps it: ns since boot (task_struct.start_boottime)
}

// Ending says how the local process gave up the connection before or with the
// reset.
type Ending struct {
	Kind   EndKind `json:"kind"`   // close, exit, signal or oom
	Signal *int    `json:"signal"` // number of the signal that killed the process; null unless killed
	Status *int    `json:"status"` // exit status; null unless the process exited by itself
}

// Confidence of a verdict.
type Confidence string

// Confidence, strongest first.
const (
	Proven   Confidence = "proven"   // the evidence allows nothing else
	Likely   Confidence = "likely"   // the evidence fits, and something else could look the same
	Possible Confidence = "possible" // nothing speaks against it
)

// Verdict is what a rule concluded from the evidence.
type Verdict struct {
	Rule       string     `json:"rule"`       // id of the rule (rstwhy explain RULE)
	Title      string     `json:"title"`      // one line: what is going on
	Confidence Confidence `json:"confidence"` // proven, likely or possible
	Because    []string   `json:"because"`    // the evidence that decided, one sentence each
	Do         []string   `json:"do"`         // what to do next, in order
	Raise      []string   `json:"raise"`      // what would raise the confidence; empty where it is proven
	Harmless   bool       `json:"harmless"`   // nothing is wrong and nothing is lost: there is nothing to do
}

// Reset is the finished record of one TCP reset.
type Reset struct {
	Type        string      `json:"type"`         // always "reset"
	Schema      int         `json:"schema"`       // version of this format
	Host        string      `json:"host"`         // host name of the machine that saw the reset
	ID          string      `json:"id"`           // unique among the resets of one host and boot
	Time        time.Time   `json:"time"`         // when the kernel sent or accepted the RST, UTC
	Direction   Direction   `json:"direction"`    // sent or received
	Local       Endpoint    `json:"local"`        // this host's end
	Peer        Endpoint    `json:"peer"`         // the other end
	NetNS       uint32      `json:"netns"`        // inode number of the network namespace
	State       *string     `json:"state"`        // TCP state before the reset (kernel's name without TCP_); null without a socket
	Socket      SocketKind  `json:"socket"`       // full, timewait, request or none
	Reason      *string     `json:"reason"`       // kernel's reset reason without SK_RST_REASON_; null where the kernel gave none
	Cause       string      `json:"cause"`        // cause id (docs/reference/causes.md)
	Owner       *Process    `json:"owner"`        // process that holds, or last held, the socket; null where none is known
	Thread      *string     `json:"thread"`       // name of the thread that acted; null where no thread did
	OwnerSource OwnerSource `json:"owner_source"` // how the owner was obtained
	OwnerProven bool        `json:"owner_proven"` // whether the owner is proven, not only remembered
	EndedBy     *Ending     `json:"ended_by"`     // how the process gave up the connection; null where it did not
	Evidence    Evidence    `json:"evidence"`     // measurements from the socket and the segment
	ZooKeeper   *ZooKeeper  `json:"zookeeper"`    // null where ZooKeeper is at neither end
	Verdict     *Verdict    `json:"verdict"`      // null where no rule applies
	Hook        Hook        `json:"hook"`         // place in the kernel that showed it
	DropReason  *string     `json:"drop_reason"`  // why the kernel did not accept the RST (kernel's name without SKB_DROP_REASON_); null where it did, or gave no reason
	Actor       *Actor      `json:"actor"`        // who caused the RST
	Others      []Process   `json:"others"`       // further processes that held the socket or, where the owner is unknown, the candidates; at most 8
	Packets     uint64      `json:"packets"`      // RST packets that this one cause made, 1 or more
	Effect      *Effect     `json:"effect"`       // what an arriving RST did; null for one that this host sent
	NAT         *NAT        `json:"nat"`          // what conntrack translated; null where it did not, or where it cannot be told
	Twin        *string     `json:"twin"`         // id of the same reset as the other end on this host saw it; null where the other end is elsewhere or was not seen
	TwinOwner   *Process    `json:"twin_owner"`   // process at that end

	Facts Facts `json:"-"` // what the decoder saw and the classifier needs
}
