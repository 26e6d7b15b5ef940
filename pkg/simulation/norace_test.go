//go:build !race

package simulation

// seeds is how many run where nobody asks for a number.
const seeds = 300
