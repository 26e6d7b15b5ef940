// Package simulation holds tests alone: several members of the group, the log, the
// group's coordinator, the external systems and a checker, in one process under
// virtual time. A seed draws every fault and its moment; the checker compares what
// came of it with what is promised. docs/simulation.md tells how to read and repeat
// a failure.
//
// What a single rule of the engine does is for the tests beside it to say.
package simulation
