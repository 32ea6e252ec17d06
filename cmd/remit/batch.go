package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

func (a *app) batchCommand() *cobra.Command {
	var q circumstance
	var file, format string
	var exitCode bool
	cmd := &cobra.Command{
		Use:   "batch [QUESTION...]",
		Short: "Ask many questions at one revision",
		Long: `Batch asks many checks and prints an answer for each, in their order: allowed, denied,
or error with the reason. A question that fails does not fail the others.

Questions come as arguments, OBJECT#RELATION@SUBJECT each, or from a file:
  text   a question a line, in one word or three
  jsonl  {"subject": "user:ann", "relation": "can_view", "object": "deal:plan"} a line,
         with "context" if need be; "user" is as good as "subject"
  csv    columns subject, relation, object, named in the first line

The exit status is 2 if a question could not be answered; with --exit-code it is 1 if
one was denied.`,
		Example: `  remit batch deal:plan#can_view@user:ann deal:plan#can_edit@user:ann
  remit batch --file questions.csv
  grep can_view questions.txt | remit batch --file - -o json`,
		GroupID: groupAsk,
		RunE: func(cmd *cobra.Command, args []string) error {
			questions, err := a.batchQuestions(args, file, format)
			if err != nil {
				return err
			}
			c, scope, err := a.ask(cmd, &q)
			if err != nil {
				return err
			}
			all := &remitv1.BatchCheckResponse{}
			for begin := 0; begin < len(questions); begin += maxOperations {
				end := min(begin+maxOperations, len(questions))
				answer, err := call(cmd.Context(), a, c.access.BatchCheck, &remitv1.BatchCheckRequest{Scope: scope, Questions: questions[begin:end]})
				if err != nil {
					return err
				}
				all.Answers, all.Token = append(all.Answers, answer.GetAnswers()...), answer.GetToken()
				all.AsOf = answer.GetAsOf()
				if answer.GetAsOf() != nil {
					continue // every part is asked of the same state as it is
				}
				// The later parts are asked of the state that the first one saw.
				scope.Consistency = &remitv1.Consistency{Requirement: &remitv1.Consistency_AtExactSnapshot{AtExactSnapshot: answer.GetToken()}}
			}
			if err := a.print(all, func(w io.Writer) error { return a.writeAnswers(w, questions, all.GetAnswers()) }); err != nil {
				return err
			}
			return batchStatus(all.GetAnswers(), exitCode)
		},
	}
	q.register(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&file, "file", "f", "", "read questions from a `file`; - is standard input")
	flags.StringVar(&format, "format", "", "the `format` of the file, if its name does not tell: text, jsonl or csv")
	flags.BoolVar(&exitCode, "exit-code", false, "exit with status 1 if a question is denied")
	complete(cmd, "format", "text", "jsonl", "csv")
	return cmd
}

func (a *app) writeAnswers(w io.Writer, questions []*remitv1.BatchQuestion, answers []*remitv1.BatchAnswer) error {
	p := colours(a.stdout)
	for i, answer := range answers {
		verdict, why := p.bad("denied "), ""
		switch {
		case answer.GetError() != nil:
			verdict, why = p.bad("error  "), "  "+answer.GetError().GetMessage()
		case answer.GetAllowed():
			verdict = p.good("allowed")
		}
		q := questions[i].GetQuestion()
		printf(w, "%s  %s %s %s%s\n", verdict, q.GetSubject(), q.GetRelation(), q.GetObject(), why)
	}
	return nil
}

func batchStatus(answers []*remitv1.BatchAnswer, exitCode bool) error {
	failed, denied := 0, 0
	for _, answer := range answers {
		switch {
		case answer.GetError() != nil:
			failed++
		case !answer.GetAllowed():
			denied++
		}
	}
	switch {
	case failed > 0:
		return fmt.Errorf("%s could not be answered", counted(failed, "question"))
	case exitCode && denied > 0:
		return errNo
	}
	return nil
}

// batchQuestions reads the questions of the arguments and of the file.
func (a *app) batchQuestions(args []string, file, format string) ([]*remitv1.BatchQuestion, error) {
	var questions []*remitv1.BatchQuestion
	for _, arg := range args {
		q, err := parseQuestion([]string{arg})
		if err != nil {
			return nil, err
		}
		questions = append(questions, &remitv1.BatchQuestion{Question: q})
	}
	if file != "" {
		data, err := readInput(file, a.stdin)
		if err != nil {
			return nil, err
		}
		format = firstOf(format, strings.TrimPrefix(filepath.Ext(file), "."))
		if file == "-" {
			file = "standard input"
		}
		read, err := parseQuestions(file, format, bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
		if err != nil {
			return nil, err
		}
		questions = append(questions, read...)
	}
	if len(questions) == 0 {
		return nil, errNoQuestions
	}
	return questions, nil
}

// parseQuestions reads questions in one of batch's formats. Of an unnamed format, lines
// that begin with a brace are JSON.
func parseQuestions(name, format string, data []byte) ([]*remitv1.BatchQuestion, error) {
	if format == "csv" {
		return csvQuestions(name, data)
	}
	var questions []*remitv1.BatchQuestion
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 4<<20)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		var q *remitv1.BatchQuestion
		var err error
		if format == "jsonl" || strings.HasPrefix(line, "{") {
			q, err = jsonQuestion(line)
		} else {
			q = &remitv1.BatchQuestion{}
			q.Question, err = parseQuestion(strings.Fields(line))
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, number, err)
		}
		questions = append(questions, q)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return questions, nil
}

func jsonQuestion(line string) (*remitv1.BatchQuestion, error) {
	var q struct {
		Subject, User, Relation, Object string
		Context                         json.RawMessage
	}
	d := json.NewDecoder(strings.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		return nil, fmt.Errorf("not a question in JSON: %w", err)
	}
	question := &remitv1.BatchQuestion{Question: &remitv1.Question{
		Subject: firstOf(q.Subject, q.User), Relation: q.Relation, Object: q.Object,
	}}
	if q.Context != nil {
		context, err := parseContext(string(q.Context))
		if err != nil {
			return nil, err
		}
		question.Context = context
	}
	return question, nil
}

func csvQuestions(name string, data []byte) ([]*remitv1.BatchQuestion, error) {
	table := csv.NewReader(bytes.NewReader(data))
	records, err := table.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(records) == 0 {
		return nil, nil
	}
	index := map[string]int{}
	for i, title := range records[0] {
		index[strings.TrimSpace(title)] = i
	}
	if i, ok := index["user"]; ok {
		index["subject"] = i
	}
	for _, c := range []string{"subject", "relation", "object"} {
		if _, ok := index[c]; !ok {
			return nil, fmt.Errorf("%s:1: column %q is missing", name, c)
		}
	}
	var questions []*remitv1.BatchQuestion
	for _, record := range records[1:] {
		questions = append(questions, &remitv1.BatchQuestion{Question: &remitv1.Question{
			Subject: record[index["subject"]], Relation: record[index["relation"]], Object: record[index["object"]],
		}})
	}
	return questions, nil
}
