// Package orgfile reads and writes organisation files (*.org.yaml): an organisation and
// its tests, as an administrator writes them.
//
//	organisation:
//	  id: acme
//	  name: Acme
//	  super_admin: ada
//	modules:
//	  deal: {name: Deals}
//	profiles:
//	  standard:
//	    name: Standard
//	    modules:
//	      deal: [view, create, edit]
//	roles:
//	  ceo: {name: CEO}
//	  rep: {name: Rep, parent: ceo, peers: view}
//	users:
//	  ada: {name: Ada, role: ceo, profiles: [standard]}
//	  rob: {name: Rob, role: rep, profiles: [standard]}
//	records:
//	  deal:
//	    orion: {owner: rob}
//	tests:
//	  - name: a superior reaches what is owned below
//	    can:
//	      - {user: ada, record: deal:orion, may: [view, edit], may_not: delete}
//
// A section that is absent says nothing: applied to an organisation, the file leaves that
// part as it is. A section that is there is the whole of it. What a section holds stands
// below its id, which never changes, so that moving a role or renaming it is one line of a
// difference; fields and records stand below their module first.
//
// Parties are user:ann, role:rep, role-and-subordinates:rep, group:emea and everyone;
// hours are 09:00-12:30, 13:30-18:00, or 22:00-06:00 except 02:00-02:30.
//
// Whatever is wrong with a file is told at once, each fault with file, line and column:
// its form when it is read, its sense by Validate. Nothing is overlooked: a key that is
// not known is a fault, and so is a section without content.
package orgfile
