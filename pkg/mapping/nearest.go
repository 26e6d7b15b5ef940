package mapping

// Nearest returns the word that is the fewest edits (Levenshtein) from the given
// one, or nothing if all are further than a slip of the pen.
func Nearest(word string, words []string) string {
	best, least := "", min(max(len(word)/3, 2), len(word)-1)
	for _, w := range words {
		if n := edits(word, w); n <= least && (best == "" || n < least) {
			best, least = w, n
		}
	}
	return best
}

func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
