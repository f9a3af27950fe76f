-- Who may do what in the ledger's database.
--
--   rowfleet_admin  the server's superuser: no password, so only over the socket in its own pod
--   rowfleet_owner  owns database, schema and tables, and migrates them; no superuser
--   rowfleet        workers and submitters: reads and writes rows, makes and changes no table

\getenv owner_password LEDGER_OWNER_PASSWORD
\getenv password LEDGER_PASSWORD

DROP ROLE IF EXISTS rowfleet_mover;
SELECT format('CREATE ROLE %I', name) FROM unnest(ARRAY['rowfleet_owner', 'rowfleet']) AS name
WHERE name NOT IN (SELECT rolname FROM pg_roles) \gexec

ALTER ROLE rowfleet_admin PASSWORD NULL;
ALTER ROLE rowfleet_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
    PASSWORD :'owner_password';
ALTER ROLE rowfleet LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
    PASSWORD :'password';

REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;
ALTER DATABASE rowfleet OWNER TO rowfleet_owner;
REVOKE ALL ON DATABASE rowfleet FROM PUBLIC;
GRANT CONNECT ON DATABASE rowfleet TO rowfleet;

ALTER SCHEMA public OWNER TO rowfleet_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO rowfleet;

-- Tables that an earlier version made belong to the superuser. Indexes go with their tables.
SELECT format('ALTER TABLE public.%I OWNER TO rowfleet_owner', relname) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
    AND relowner <> 'rowfleet_owner'::regrole \gexec

-- Sequences that belong to no column follow no table.
SELECT format('ALTER SEQUENCE public.%I OWNER TO rowfleet_owner', relname) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'S'
    AND relowner <> 'rowfleet_owner'::regrole \gexec

GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO rowfleet;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO rowfleet;
ALTER DEFAULT PRIVILEGES FOR ROLE rowfleet_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO rowfleet;
ALTER DEFAULT PRIVILEGES FOR ROLE rowfleet_owner IN SCHEMA public
    GRANT USAGE ON SEQUENCES TO rowfleet;

-- Sessions that the superuser had over the network under its old name keep its rights: end them.
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE usename = 'rowfleet_admin' AND client_addr IS NOT NULL;
