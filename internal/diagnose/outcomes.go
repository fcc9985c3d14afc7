package diagnose

import "rstwhy/internal/event"

// outcomeLines states what came of asking the server, whatever it was. The
// meaning of each answer: ZooKeeper's documentation of the four-letter words,
// and measurements with 3.4.13, 3.8.0 and 3.9.3.
var outcomeLines = []Line{
	{when(event.OutcomeOK), "the server says that it is ZooKeeper {version} and that it is serving (asked {asked})"},
	{when(event.OutcomeNotWhitelisted), "the server refuses to tell its version (4lw.commands.whitelist), which only 3.4.10 and later do (asked {asked})"},
	{when(event.OutcomeNotServing), "the server says that it is not currently serving requests (asked {asked})"},
	{when(event.OutcomeTLSOnly), "the server stays silent to plain text, as a TLS port does (asked {asked}); its version is not known, and byte counts say nothing behind TLS"},
	{when(event.OutcomeRefused), "the server's port refuses connections (asked {asked})"},
	{when(event.OutcomeReset), "the server also reset or closed rstwhy's own connection before answering (asked {asked})"},
	{when(event.OutcomeTimeout), "the server did not answer in time (asked {asked})"},
	{when(event.OutcomeUnreachable), "the server could not be reached from here to ask it (asked {asked})"},
	{when(event.OutcomeNotZooKeeper), "what answers on {server} is not ZooKeeper (asked {asked})"},
	{when(event.OutcomeKeeper), "what answers on {server} is ClickHouse Keeper, to which Apache ZooKeeper's defects do not apply"},
	{when(event.OutcomePending), "the server has not been asked yet, or has not answered"},
	{when(event.OutcomeWithheld), "the server was not asked: this host holds more than 80 % of the connections that the server allows it"},
	{when(event.OutcomeDisabled), "the server was not asked (probing is off)"},
}

func when(o event.Outcome) []Condition { return []Condition{outcomeIn(o)} }

// with puts the outcome of asking the server behind a rule's own lines.
func with(lines ...Line) []Line { return append(lines, outcomeLines...) }
