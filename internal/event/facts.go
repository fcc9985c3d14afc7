package event

// Facts are the kernel's raw observations that decide the cause. They are not
// printed; what a person should see of them is in Evidence.
type Facts struct {
	TriggerSeen    bool // a received segment provoked the RST (skb != NULL): a passive reset
	TriggerFIN     bool // that segment's flags
	TriggerSYN     bool
	TriggerACK     bool
	StateAtReset   string // state at the tracepoint itself (CLOSE for every active reset), without TCP_
	TWSubstate     string // TIME_WAIT minisocket: FIN_WAIT2 or TIME_WAIT
	Dead           bool   // SOCK_DEAD: orphaned, no process holds it
	HasSocketFile  bool   // a file descriptor still refers to it
	HasSocket      bool   // sk_socket != NULL: accepted or created by a process
	LingerOn       bool   // SO_LINGER set
	LingerSeconds  uint32 // its time, s
	Linger2        int32  // TCP_LINGER2 as the kernel keeps it (jiffies, negative = abort)
	ShutdownRcv    bool   // sk_shutdown & RCV_SHUTDOWN
	ShutdownSend   bool   // sk_shutdown & SEND_SHUTDOWN
	PeerFIN        bool   // the peer's FIN was received (SOCK_DONE)
	LockOwned      bool   // a task held the socket lock (process context), so current acted
	MPTCP          bool   // an MPTCP subflow
	ActiveOpen     bool   // the local side connected; false: accepted, or unknown
	ActiveOpenKnow bool   // whether ActiveOpen is known
	TombstoneHit   bool   // the 4-tuple was found among sockets closed recently
	TombstoneState string // state in which that socket was left
	FileRefs       int64  // references to the socket's file at the reset
	SegmentRST     bool   // the segment was itself a RST (hook drop, firewall)
	Forwarded      bool   // hook firewall: the rejected segment was being forwarded, neither end is here
	// NoLocalSender: the RST claims to come from this host, no hook saw it being
	// sent, and nothing that could hide it was missed or filtered.
	NoLocalSender bool
	// SocketUntold: the kernel does not say which socket refused the RST (hook drop,
	// before 6.11), and asking for it afterwards did not tell.
	SocketUntold bool
	Error        int32 // sk_err
}
