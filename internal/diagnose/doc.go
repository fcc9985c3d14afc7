// Package diagnose turns the finished measurements of a TCP reset into words:
// Classify picks the cause from an ordered table of named conditions, Sentence
// says it in one line, and Judge picks the verdict (what it means and what to
// do) from a table of rules. All of it is pure: a record goes in, text comes
// out, and nothing is asked of the system. The same tables print the
// reference documentation and `rstwhy explain`.
package diagnose
