package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/remit-authz/remit/fsm"
)

// A backupSummary is one line of a folder's list.
type backupSummary struct {
	Backup   string    `json:"backup"`
	Created  time.Time `json:"created"`
	Revision uint64    `json:"revision"`
	Files    int       `json:"files"`
	Bytes    uint64    `json:"bytes"`
	// Alone is what would be freed if the backup were removed.
	Alone uint64 `json:"bytesOfItsOwn"`
	Fault string `json:"fault,omitempty"`
}

// A backupContent is a backup in full.
type backupContent struct {
	backupSummary
	Time           time.Time      `json:"time"` // the leader's at the revision
	Epoch          string         `json:"epoch"`
	StateHash      string         `json:"stateHash"`
	ClusterVersion uint64         `json:"clusterVersion"`
	Program        string         `json:"program"`
	Stores         []backupStore  `json:"stores"`
	FileList       []backupedFile `json:"fileList,omitempty"`
}

type backupStore struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Tuples  uint64    `json:"tuples"`
	// Managed says that it holds an organisation.
	Managed bool `json:"managed"`
}

type backupedFile struct {
	Name   string `json:"name"`
	Bytes  uint64 `json:"bytes"`
	SHA256 string `json:"sha256"`
	// SharedBy is how many backups of the folder have the file.
	SharedBy int `json:"sharedBy"`
}

func (a *app) backupInspectCommand() *cobra.Command {
	var files bool
	cmd := &cobra.Command{
		Use:   "inspect DIR [NAME]",
		Short: "Show which backups a folder holds, or what one of them holds",
		Long: `Inspect lists the backups of a folder: when each was taken, at which revision, its size,
and how much of that no other backup has. Given a name, which may be "latest", it shows
that backup: its stores as they are in it, and with --files its files. It needs no server,
writes nothing, and does not look for damage, as verify does.`,
		Example: `  remit backup inspect /var/backups/remit
  remit backup inspect /var/backups/remit latest
  remit backup inspect /var/backups/remit latest --files -o json`,
		Args:        oneOrTwo("DIR [NAME]"),
		Annotations: local,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			if files && len(args) == 1 {
				return errors.New("--files is for one backup; name it, or say latest")
			}
			dir := fsm.OpenBackups(args[0])
			stored, err := dir.List()
			if err != nil {
				return err
			}
			users := usersOf(stored)
			if len(args) == 1 {
				return a.listBackups(stored, users)
			}
			m, err := dir.Find(backupNamed(args))
			if err != nil {
				return err
			}
			return a.showBackup(dir, m, users, files)
		},
	}
	cmd.Flags().BoolVar(&files, "files", false, "list the files as well")
	return cmd
}

// usersOf counts by how many backups each file is used.
func usersOf(stored []fsm.StoredBackup) map[fsm.BackupSum]int {
	users := map[fsm.BackupSum]int{}
	for _, s := range stored {
		if s.Manifest == nil {
			continue
		}
		own := map[fsm.BackupSum]bool{}
		for _, f := range s.Manifest.Files {
			if f.Size > 0 && !own[f.Sum] {
				own[f.Sum] = true
				users[f.Sum]++
			}
		}
	}
	return users
}

func summarize(m *fsm.BackupManifest, users map[fsm.BackupSum]int) backupSummary {
	s := backupSummary{Backup: m.Name(), Created: m.Created, Revision: uint64(m.Revision()), Files: len(m.Files), Bytes: m.Size()}
	for _, f := range m.Files {
		if users[f.Sum] == 1 {
			s.Alone += f.Size
		}
	}
	return s
}

func (a *app) listBackups(stored []fsm.StoredBackup, users map[fsm.BackupSum]int) error {
	all := []backupSummary{}
	for _, s := range stored {
		if s.Err != nil {
			all = append(all, backupSummary{Backup: s.Name, Fault: s.Err.Error()})
			continue
		}
		all = append(all, summarize(s.Manifest, users))
	}
	return a.print(all, func(w io.Writer) error {
		return columns(w, func(w io.Writer) {
			printLine(w, "BACKUP\tTAKEN\tREVISION\tFILES\tSIZE\tOF ITS OWN")
			for _, s := range all {
				if s.Fault != "" {
					printf(w, "%s\tunreadable: %s\n", s.Backup, s.Fault)
					continue
				}
				printf(w, "%s\t%s\t%d\t%d\t%s\t%s\n", s.Backup, instantText(s.Created), s.Revision, s.Files, sizeText(s.Bytes), sizeText(s.Alone))
			}
		})
	})
}

// writeStores lists the stores. Where none is managed nothing is said of that.
func (c *backupContent) writeStores(w io.Writer) {
	managed := slices.ContainsFunc(c.Stores, func(s backupStore) bool { return s.Managed })
	line := func(cells ...string) {
		if !managed {
			cells = cells[:len(cells)-1]
		}
		printLine(w, strings.Join(cells, "\t"))
	}
	line("STORE", "ID", "TUPLES", "CREATED", "MANAGED")
	for _, s := range c.Stores {
		is := "no"
		if s.Managed {
			is = "yes"
		}
		line(visible(s.Name), s.ID, thousands(int(s.Tuples)), instantText(s.Created), is)
	}
}

func (a *app) showBackup(dir *fsm.BackupDir, m *fsm.BackupManifest, users map[fsm.BackupSum]int, files bool) error {
	stores, err := dir.Stores(m)
	if err != nil {
		return fmt.Errorf("%w\n  \"remit backup verify\" tells what is damaged", err)
	}
	c := &backupContent{
		backupSummary: summarize(m, users), Time: m.Time(), Epoch: epochText(m.Epoch), StateHash: m.Hash().String(),
		ClusterVersion: m.ClusterVersion, Program: m.Program, Stores: []backupStore{},
	}
	for _, s := range stores {
		c.Stores = append(c.Stores, backupStore{s.ID.String(), s.Name, s.Created, s.Tuples, s.Managed})
	}
	if files {
		for _, f := range m.Files {
			c.FileList = append(c.FileList, backupedFile{f.Name, f.Size, f.Sum.String(), users[f.Sum]})
		}
	}
	return a.print(c, func(w io.Writer) error {
		err := columns(w, func(w io.Writer) {
			printf(w, "backup\t%s\n", c.Backup)
			printf(w, "taken\t%s by remit %s\n", instantText(c.Created), c.Program)
			printf(w, "revision\t%d of %s\n", c.Revision, instantText(c.Time))
			printf(w, "epoch\t%s\n", c.Epoch)
			printf(w, "state hash\t%s\n", c.StateHash)
			printf(w, "cluster version\t%d\n", c.ClusterVersion)
			printf(w, "size\t%s in %s; %s in no other backup\n", sizeText(c.Bytes), counted(c.Files, "file"), sizeText(c.Alone))
		})
		if err != nil {
			return err
		}
		printLine(w, "")
		err = columns(w, c.writeStores)
		if err != nil || !files {
			return err
		}
		printLine(w, "")
		return columns(w, func(w io.Writer) {
			printLine(w, "FILE\tSIZE\tIN BACKUPS\tSHA-256")
			for _, f := range c.FileList {
				printf(w, "%s\t%s\t%d\t%s\n", f.Name, sizeText(f.Bytes), f.SharedBy, f.SHA256)
			}
		})
	})
}
